// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Switching interrupts of the current CPU off and on, without a system call.
///
/// An interrupt that arrives while they are off stays pending and is replayed, in the order of
/// arrival, by the call that switches them on. This holds off Interlock's own lines on this CPU
/// only: not other CPUs, not other signals of the process, not the scheduler of the OS.
///
/// Ordering, against the doorbell handler on the same thread (compiler barriers suffice):
///   thread                          handler
///   irqs_off = 0        [F1]        if (irqs_off) return;   pending stays set
///   barrier             [F2]        serve; pending = 0
///   if (pending) replay [F3]
/// A handler that lands before F1 leaves `pending` set, so F3 sees it; one that lands after F1
/// serves it itself. The barrier F2 keeps F3 from moving before F1.

#include "interlock/preempt.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

/// What `local_irq_save` returns: whether interrupts were off before.
enum class irq_flags : std::uint32_t { enabled = 0, disabled = 1 };

namespace detail {

/// Serves what is pending on this CPU, interrupts and softirqs, as far as its context allows.
/// Runs the hook that the irq layer registers. Context: any but NMI.
INTERLOCK_API void replay_pending() noexcept;

}  // namespace detail

/// Switches interrupts off and says how they were. Context: any, NMI included. Never sleeps.
[[nodiscard]] inline irq_flags local_irq_save(location where = location::current()) noexcept {
  platform::event::irqs_off();  // the last place for an interrupt
  cpu_words& cpu = platform::this_cpu();
  const std::uint32_t off = cpu.irqs_off.load_relaxed();
  if (off == 0) cpu.irqs_off_at = where;
  cpu.irqs_off.store_relaxed(1);
  barrier();
  return static_cast<irq_flags>(off);
}

/// Switches interrupts off. Context: any. Never sleeps.
inline void local_irq_disable(location where = location::current()) noexcept {
  (void)local_irq_save(where);
}

/// Switches interrupts on and replays what is pending. Context: any but NMI; the caller must not
/// be in hardirq. Never sleeps, but runs handlers.
inline void local_irq_enable() noexcept {
  barrier();
  cpu_words& cpu = platform::this_cpu();
  platform::event::irqs_on();
  cpu.irqs_off.store_relaxed(0);  // [F1]
  barrier();                      // [F2]
  if (cpu.pending.load_relaxed() != 0) [[unlikely]]
    detail::replay_pending();  // [F3]
}

/// Restores what `local_irq_save` returned. Context: any, NMI included; as the matching save. Never
/// sleeps, but runs handlers if it switches interrupts on.
inline void local_irq_restore(irq_flags flags) noexcept {
  if (flags == irq_flags::enabled) local_irq_enable();
}

}  // namespace interlock::inline INTERLOCK_PLATFORM
