// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Simulated descriptors as interrupt sources. Their numbers lie far above those of any process; a
/// real descriptor is refused with operation_not_supported: nothing can replay what it does.

#include <cstddef>
#include <cstdint>

#include "interlock/result.hpp"
#include "interlock/time.hpp"
#include "interlock_platform/park.hpp"
#include "interlock_platform/platform.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::platform {

/// A set of descriptors to wait for. One waiter at a time; add, remove and wake from any task.
struct poller {
  int number = -1;
};

INTERLOCK_API result<poller> open_poller() noexcept;
INTERLOCK_API void close_poller(poller& p) noexcept;

/// Reports `cookie` (not 0) each time `fd` is readable (level-triggered, one-shot: rearm after).
INTERLOCK_API result<void> poller_add(poller& p, int fd, std::uint64_t cookie) noexcept;
INTERLOCK_API result<void> poller_rearm(poller& p, int fd, std::uint64_t cookie) noexcept;
INTERLOCK_API void poller_remove(poller& p, int fd) noexcept;

/// Sleeps until a descriptor is ready, `poller_wake`, or `until`. Returns how many cookies were
/// written; 0 for a wake or a timeout. Context: task, may sleep.
INTERLOCK_API std::size_t poller_wait(poller& p, std::uint64_t* cookies, std::size_t capacity,
                                      deadline until,
                                      deadline_kind kind = deadline_kind::timeout) noexcept;

/// Makes the current or the next `poller_wait` return. Context: any.
INTERLOCK_API void poller_wake(poller& p) noexcept;

/// A counter that a poller can wait on. Errors: too_many_files_open. Context: task.
INTERLOCK_API result<int> open_event_fd() noexcept;
/// Makes it readable. Context: any.
INTERLOCK_API void signal_event_fd(int fd) noexcept;
/// Takes what was signalled; true if there was anything. Context: any.
INTERLOCK_API bool drain_event_fd(int fd) noexcept;
INTERLOCK_API void close_fd(int fd) noexcept;

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform
