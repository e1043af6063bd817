// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Starting and joining tasks. See platforms/README.md.

#include <cstdint>

#include "interlock/atomic.hpp"
#include "interlock/result.hpp"
#include "interlock_platform/platform.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::platform {

/// A joinable task; trivially copyable, joined or detached exactly once.
struct thread_handle {
  std::uint64_t value = 0;
};

/// Starts `entry(argument)` as a task called `name` (15 bytes are kept): on the next CPU in turn, or
/// on one of its own if the name begins with "ilk-", as those of the library's service tasks do.
/// Errors: none; one task too many fails the execution. Context: task.
INTERLOCK_API result<thread_handle> spawn(void (*entry)(void*), void* argument,
                                          const char* name) noexcept;

/// Starts `entry(argument)` as a device: hardware, which takes steps whatever the CPUs have masked. It has memory and interrupt
/// lines; that it locks, starts or joins a task, or sleeps otherwise than in `device_wait`, fails the execution.
/// Errors: none; one task too many fails the execution. Context: task.
INTERLOCK_API result<thread_handle> spawn_device(void (*entry)(void*), void* argument,
                                                 const char* name) noexcept;
/// Sleeps while `word == expected`; a write followed by `unpark` ends it. Orders nothing, the
/// caller's load of the word does. Context: a device.
INTERLOCK_API void device_wait(const atomic<std::uint32_t>& word, std::uint32_t expected) noexcept;

/// Waits for the end of the task or device. Context: task, may sleep.
INTERLOCK_API void join(thread_handle thread) noexcept;

/// Copies the name of the current task into `buffer` (at least 16 bytes).
INTERLOCK_API void thread_name(char* buffer) noexcept;

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform
