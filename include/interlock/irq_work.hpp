// SPDX-License-Identifier: Apache-2.0
#pragma once

/// `irq_work`: run a function in hardirq context soon, from any context.
/// Source: Linux include/linux/irq_work.h (semantics).

#include "interlock/cpu.hpp"
#include "interlock/location.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

namespace detail {
INTERLOCK_API void irq_work_run(cpu_node& node, bool gone) noexcept;
}

/// Caller-owned. Lifetime: until it has run and `irq_work_sync` returned. The function runs with
/// interrupts off, as a handler does, and MUST NOT throw.
struct irq_work {
  explicit constexpr irq_work(void (*function)(irq_work& work)) noexcept : func{function} {}
  irq_work(const irq_work&) = delete;
  irq_work& operator=(const irq_work&) = delete;

  detail::cpu_node node{{nullptr}, &detail::irq_work_run};
  void (*func)(irq_work& work);
  atomic<std::uint32_t> flags{0};  ///< bit 0 pending, bit 1 busy, bit 2 somebody waits
};

/// Queues it on this CPU; it runs before the interrupted task goes on, or at once in task context
/// with interrupts on. False if it was pending already (one run serves both).
/// Context: any, NMI included; async-signal-safe. The CPU need not be online.
INTERLOCK_API bool irq_work_queue(irq_work& work) noexcept;
/// The same on another CPU. If that CPU is gone, on the service CPU. A CPU that blocks the doorbell
/// runs it when it unblocks it.
/// Context: as above; if the service CPU has to be started for it, that is done in task context
/// only.
INTERLOCK_API bool irq_work_queue_on(irq_work& work, cpu_id cpu) noexcept;
/// Waits until it neither is pending nor runs: also if it runs on its own CPU with interrupts off,
/// so long. Context: task, may sleep; not from the work itself.
INTERLOCK_API void irq_work_sync(irq_work& work, location where = location::current()) noexcept;

}  // namespace interlock::inline INTERLOCK_PLATFORM
