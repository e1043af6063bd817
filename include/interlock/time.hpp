// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Time as Interlock counts it: nanoseconds on one monotonic clock (CLOCK_MONOTONIC natively).
/// Timeouts of waits are absolute (`_until(deadline)`); only `schedule_timeout` is relative, as in
/// the kernel.

#include <chrono>

namespace interlock {

/// A duration. Unit: nanoseconds, signed 64 bits.
using ktime = std::chrono::nanoseconds;

/// Tag of the monotonic clock; `now()` is `monotonic_clock::now()` in task.hpp: the
/// platform answers it.
struct monotonic_time_tag {
  using duration = ktime;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<monotonic_time_tag>;
  static constexpr bool is_steady = true;
};

/// A point on the monotonic clock.
using deadline = monotonic_time_tag::time_point;

/// Never expires.
inline constexpr deadline no_deadline = deadline::max();

/// Already expired: turns a wait into a poll.
inline constexpr deadline expired_deadline = deadline::min();

/// `schedule_timeout(max_schedule_timeout)` sets no timer.
inline constexpr ktime max_schedule_timeout = ktime::max();

}  // namespace interlock
