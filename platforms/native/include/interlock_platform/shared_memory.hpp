// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Memory that other processes (or devices) may write.

#include <cstddef>

#include "interlock/result.hpp"
#include "interlock_platform/platform.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::platform {

struct shared_mapping {
  void* address = nullptr;
  std::size_t size = 0;
  int fd = -1;  ///< owned; -1 for private memory
};

/// Zeroed memory, backed by a sealed-size memfd called `name` (so that a peer cannot truncate it
/// under us) when `shareable`, else private. Errors: not_enough_memory, too_many_files_open,
/// invalid_argument (size 0). Context: task.
INTERLOCK_API result<shared_mapping> map_memory(std::size_t size, bool shareable,
                                                const char* name) noexcept;

/// Maps what a peer made; duplicates `fd`. Errors: invalid_argument if the file is smaller than
/// `size` or could still be truncated by a peer (not sealed against shrinking): such a mapping
/// could raise SIGBUS; bad_file_descriptor; not_enough_memory. Context: task.
INTERLOCK_API result<shared_mapping> map_memory_fd(int fd, std::size_t size) noexcept;

INTERLOCK_API void unmap_memory(shared_mapping& mapping) noexcept;

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform
