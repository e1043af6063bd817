// SPDX-License-Identifier: Apache-2.0
#pragma once

/// `might_sleep()`: the promise of a function that it may sleep, checked at each call, always.

#include "interlock/report.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

namespace detail {
/// Nesting of `rcu_read_lock` in `task_words::rcu`; the rest is the grace period, see rcupdate.hpp.
inline constexpr std::uint64_t rcu_nesting_mask = 0x7fff;

INTERLOCK_API void might_sleep_failed(location where) noexcept;
}  // namespace detail

/// True if a sleep is allowed here: preempt_count 0, interrupts on, not inside an RCU reader.
/// Context: any.
[[nodiscard]] inline bool sleep_allowed() noexcept {
  const cpu_words& cpu = platform::this_cpu();
  const task_words& task = platform::this_task();
  return (cpu.interrupt_count.load_relaxed() | cpu.irqs_off.load_relaxed() |
          task.preempt_depth.load_relaxed() |
          static_cast<std::uint32_t>(task.rcu.load_relaxed() & detail::rcu_nesting_mask)) == 0;
}

/// Reports "BUG: sleeping function called from invalid context" unless a sleep is allowed here.
/// Every function that "may sleep" begins with it, also when it happens not to sleep. Those of which
/// docs/contexts.md says that a task may wait do so only where a sleep is allowed, and nowhere else.
/// Under the action `log` at most one such report a second is printed, as in the kernel.
/// Context: any; the report says what forbids it and where that context was entered.
inline void might_sleep(location where = location::current()) noexcept {
  if (!sleep_allowed()) [[unlikely]]
    detail::might_sleep_failed(where);
  platform::event::might_sleep();
}

}  // namespace interlock::inline INTERLOCK_PLATFORM
