// SPDX-License-Identifier: Apache-2.0

/// The clock, and the sleeps that only wait for it.

#include "interlock/task.hpp"
#include "interlock_platform/park.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

monotonic_clock::time_point monotonic_clock::now() noexcept { return platform::now(); }

deadline deadline_after(ktime timeout) noexcept {
  const deadline now = platform::now();
  if (timeout >= no_deadline - now) return no_deadline;
  return now + timeout;
}

void sleep_for(ktime duration, location where) noexcept {
  might_sleep(where);
  const deadline until = deadline_after(duration);
  do {
    set_current_state_raw(task_uninterruptible);  // nobody is expected to wake it
  } while (schedule_until(until, where));
}

}  // namespace interlock::inline INTERLOCK_PLATFORM
