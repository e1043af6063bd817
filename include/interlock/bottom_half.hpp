// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Holding off softirqs on the current CPU. Source: Linux include/linux/bottom_half.h.

#include "interlock/irqflags.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

/// Holds off softirqs on this CPU; nests up to 127 deep. Context: any but NMI. Never sleeps.
inline void local_bh_disable(location where = location::current()) noexcept {
  cpu_words& cpu = platform::this_cpu();
  const std::uint32_t count = cpu.interrupt_count.load_relaxed();
  if ((count & softirq_mask) > softirq_mask - softirq_disable_offset) [[unlikely]] {
    detail::context_fault_found(detail::context_fault::bh_overflow);
    return;
  }
  platform::event::context_enter(softirq_disable_offset);  // the last place for a softirq
  if (preempt_count() == 0) platform::this_task().atomic_at = where;
  cpu.interrupt_count.store_relaxed(count + softirq_disable_offset);
  barrier();
}

/// Leaves it; the outermost one runs the softirqs that were raised meanwhile.
/// Context: task or softirq, with interrupts on (else reported). Never sleeps, but runs softirqs.
inline void local_bh_enable() noexcept {
  barrier();
  cpu_words& cpu = platform::this_cpu();
  const std::uint32_t count = cpu.interrupt_count.load_relaxed();
  if ((count & softirq_mask) < softirq_disable_offset) [[unlikely]] {
    detail::context_fault_found(detail::context_fault::bh_underflow);
    return;
  }
  if ((count & hardirq_mask) != 0 || irqs_disabled()) [[unlikely]] {
    detail::context_fault_found(detail::context_fault::bh_in_hardirq);
  }
  platform::event::context_exit(softirq_disable_offset);
  cpu.interrupt_count.store_relaxed(count - softirq_disable_offset);
  barrier();
  if (cpu.softirq_pending.load_relaxed() != 0 && !in_interrupt()) [[unlikely]] {
    detail::replay_pending();
  }
}

}  // namespace interlock::inline INTERLOCK_PLATFORM
