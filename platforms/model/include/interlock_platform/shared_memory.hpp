// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Memory that simulated devices may write.

#include <cstddef>

#include "interlock/result.hpp"
#include "interlock_platform/platform.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::platform {

struct shared_mapping {
  void* address = nullptr;
  std::size_t size = 0;
  int fd = -1;  ///< owned; -1 for private memory
};

/// Zeroed memory from the heap, so that it ends with the execution; with a simulated descriptor when
/// `shareable`. Errors: not_enough_memory, too_many_files_open, invalid_argument (size 0).
/// Context: task.
INTERLOCK_API result<shared_mapping> map_memory(std::size_t size, bool shareable,
                                                const char* name) noexcept;

/// Maps once more, under a descriptor of its own, what `map_memory` made: the same addresses.
/// Errors: invalid_argument if that is smaller than `size`; operation_not_supported for a real
/// descriptor; too_many_files_open. Context: task.
INTERLOCK_API result<shared_mapping> map_memory_fd(int fd, std::size_t size) noexcept;

INTERLOCK_API void unmap_memory(shared_mapping& mapping) noexcept;

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform
