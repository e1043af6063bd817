// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Starting and joining threads. See platforms/README.md.

#include <cstdint>

#include "interlock/atomic.hpp"
#include "interlock/result.hpp"
#include "interlock_platform/platform.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::platform {

/// A joinable thread; trivially copyable, joined or detached exactly once.
struct thread_handle {
  std::uint64_t value = 0;
};

/// Starts `entry(argument)` on a new CPU (natively a thread) called `name` (15 bytes are kept).
/// The thread blocks all signals but Interlock's own, so that it never runs a handler of the
/// process. Errors: resource_unavailable_try_again, not_enough_memory. Context: task.
INTERLOCK_API result<thread_handle> spawn(void (*entry)(void*), void* argument,
                                          const char* name) noexcept;

/// Starts `entry(argument)` as a device: hardware, played by a thread as `spawn` makes it, which no
/// CPU's masks hold up. It MUST NOT lock, nor sleep otherwise than in `device_wait`.
/// Errors: as spawn. Context: task.
INTERLOCK_API result<thread_handle> spawn_device(void (*entry)(void*), void* argument,
                                                 const char* name) noexcept;
/// Sleeps while `word == expected`; a write followed by `unpark` ends it. May return early. Orders
/// nothing, the caller's load of the word does. Context: a device.
INTERLOCK_API void device_wait(const atomic<std::uint32_t>& word, std::uint32_t expected) noexcept;

/// Waits for the end of the thread. Context: task, may sleep.
INTERLOCK_API void join(thread_handle thread) noexcept;

/// Copies the name of the calling thread into `buffer` (at least 16 bytes).
INTERLOCK_API void thread_name(char* buffer) noexcept;

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform
