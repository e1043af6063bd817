// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Grace periods, as the rest of RCU asks for them.

#include "interlock/rcupdate.hpp"
#include "interlock/time.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::detail {

/// The sequence number at which everything that the caller did is safe. Order: full barrier first.
[[nodiscard]] std::uint64_t grace_period_snapshot() noexcept;

/// True if the grace period that `snapshot` asks for is over. Order: [Q2] acquire.
[[nodiscard]] bool grace_period_reached(std::uint64_t snapshot) noexcept;

struct grace_period_wait {
  bool quick = false;  ///< spin and yield instead of sleeping
  bool once = false;   ///< give up at the first reader that is inside
  /// Nanoseconds of the monotonic clock after which to give up; may be moved forward while the wait
  /// goes on (see grace_period_nudge). Null: never.
  const atomic<std::int64_t>* give_up_at = nullptr;
};

/// Waits for it, leading a grace period or sharing another's. False if it gave up.
/// Context: task, outside readers. Sleeps in the OS only.
[[nodiscard]] bool wait_for_grace_period(std::uint64_t snapshot, grace_period_wait how) noexcept;

/// One grace period, if nobody leads one and no reader is in the way. True if it has passed: it
/// began after the call. Never waits for a reader. Context: task, outside readers.
[[nodiscard]] bool try_grace_period() noexcept;

/// Wakes whoever waits in `wait_for_grace_period`, to look at its time again.
void grace_period_nudge() noexcept;

void grace_period_fork_child() noexcept;

/// Grace periods completed, and reports of stalls.
[[nodiscard]] std::uint64_t grace_periods_completed() noexcept;
[[nodiscard]] std::uint64_t stalls_reported() noexcept;

}  // namespace interlock::inline INTERLOCK_PLATFORM::detail
