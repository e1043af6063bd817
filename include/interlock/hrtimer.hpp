// SPDX-License-Identifier: Apache-2.0
#pragma once

/// High-resolution timers, one-shot and periodic, in hardirq context.
/// Source: Linux include/linux/hrtimer.h (semantics).

#include "interlock/cpu.hpp"
#include "interlock/location.hpp"
#include "interlock/time.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

enum class hrtimer_restart { norestart, restart };

enum class hrtimer_mode {
  service,  ///< runs on the service CPU: halts nobody
  pinned,   ///< halts the CPU that started it
};

namespace detail {
INTERLOCK_API void hrtimer_run_pinned(cpu_node& node, bool gone) noexcept;
}

/// Caller-owned. It ends like a `hrtimer_cancel`, so what its function uses must outlive it.
struct hrtimer {
  explicit hrtimer(hrtimer_restart (*function)(hrtimer& timer),
                   hrtimer_mode mode = hrtimer_mode::service) noexcept
      : func{function}, run_mode{mode} {}
  hrtimer(const hrtimer&) = delete;
  hrtimer& operator=(const hrtimer&) = delete;
  /// Disarms it, and waits while its function runs elsewhere.
  /// Context: any in which the timer may be cancelled; in a handler only what cannot be running.
  INTERLOCK_API ~hrtimer();

  hrtimer_restart (*func)(hrtimer& timer);  ///< MUST NOT throw
  hrtimer_mode run_mode;
  deadline expires{};  ///< read by anybody, written by the functions below

  // The rest is the timer's own.
  hrtimer* child = nullptr;  ///< pairing heap
  hrtimer* sibling = nullptr;
  hrtimer* previous = nullptr;
  cpu_id cpu = cpu_id::none;
  std::uint32_t state = 0;  ///< written under the lock of all timers
  bool started = false;     ///< ever
  detail::cpu_node node{{nullptr}, &detail::hrtimer_run_pinned};
};

/// Arms it for `when`, replacing an earlier expiry.
/// Context: any but NMI, a task may wait until the service CPU is started; its own function too.
/// Where the caller may not sleep and no service CPU runs, it stays armed until the next operation of
/// a task on interrupts, timers or fences starts one. So whoever will need timers in an interrupt
/// calls `service_cpu` before.
/// Errors: in a task those of `service_cpu`; for pinned those of `online_cpu`.
[[nodiscard]] INTERLOCK_API result<void> hrtimer_start(hrtimer& timer, deadline when) noexcept;

/// Moves `expires` forward by whole periods until it lies after `now`; how many. For functions that
/// return restart. An armed timer is left alone, and the answer is 0: somebody started it anew while
/// its function runs. Context: any but NMI.
INTERLOCK_API std::uint64_t hrtimer_forward(hrtimer& timer, deadline now, ktime period) noexcept;

/// Disarms it, and waits if its function runs. True if it was armed. Context: task, may sleep; not
/// from its own function.
INTERLOCK_API bool hrtimer_cancel(hrtimer& timer, location where = location::current()) noexcept;
/// 1 was armed, 0 was not, -1 its function runs now, or (pinned) is on its way to its CPU.
/// Context: any but NMI.
INTERLOCK_API int hrtimer_try_to_cancel(hrtimer& timer) noexcept;

}  // namespace interlock::inline INTERLOCK_PLATFORM
