// SPDX-License-Identifier: Apache-2.0
#pragma once

/// `preempt_count` and what it answers: in which context the caller runs.
///
/// | bits  | field   | unit                 | owner | meaning                                     |
/// |-------|---------|----------------------|-------|---------------------------------------------|
/// | 0-7   | preempt | `preempt_offset`     | task  | `preempt_disable` and held spinlocks        |
/// | 8-15  | softirq | `softirq_offset`     | CPU   | serving adds 1 unit, `local_bh_disable` 2   |
/// | 16-19 | hardirq | `hardirq_offset`     | CPU   | nested hard interrupts                      |
/// | 20-23 | NMI     | `nmi_offset`         | CPU   | nested NMIs; an NMI counts as hardirq too   |
///
/// The count is always kept, as in a kernel with PREEMPT_COUNT. Interrupts being off are not part
/// of it: `in_atomic()` does not see them, `preemptible()` and `might_sleep()` do.
/// Natively one task lives on one CPU, so `preempt_disable` holds off nobody else: what it does is
/// to mark the section as atomic. See docs/contexts.md.
/// Source: Linux include/linux/preempt.h (6.1), layout and predicates.

#include <cstdint>

#include "interlock/location.hpp"
#include "interlock_platform/events.hpp"
#include "interlock_platform/local.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

inline constexpr std::uint32_t preempt_offset = 1u << 0;
inline constexpr std::uint32_t softirq_offset = 1u << 8;
inline constexpr std::uint32_t softirq_disable_offset = 2u << 8;
inline constexpr std::uint32_t hardirq_offset = 1u << 16;
inline constexpr std::uint32_t nmi_offset = 1u << 20;

inline constexpr std::uint32_t preempt_mask = 0x0000'00ffu;
inline constexpr std::uint32_t softirq_mask = 0x0000'ff00u;
inline constexpr std::uint32_t hardirq_mask = 0x000f'0000u;
inline constexpr std::uint32_t nmi_mask = 0x00f0'0000u;

namespace detail {

/// Context misuse that the context layer itself notices.
enum class context_fault {
  preempt_underflow,  ///< preempt_enable without preempt_disable
  preempt_overflow,   ///< more than 255 nested preempt_disable
  bh_underflow,       ///< local_bh_enable without local_bh_disable
  bh_overflow,        ///< more than 127 nested local_bh_disable
  bh_in_hardirq,      ///< local_bh_enable in hardirq or with interrupts off
};

/// Reports through the hook that the report layer installs. Context: any.
INTERLOCK_API void context_fault_found(context_fault fault) noexcept;

}  // namespace detail

/// The whole count of the caller's context. Context: any, NMI included.
[[nodiscard]] inline std::uint32_t preempt_count() noexcept {
  return platform::this_cpu().interrupt_count.load_relaxed() |
         platform::this_task().preempt_depth.load_relaxed();
}

/// Context: any.
[[nodiscard]] inline std::uint32_t hardirq_count() noexcept {
  return preempt_count() & hardirq_mask;
}
/// Context: any.
[[nodiscard]] inline std::uint32_t softirq_count() noexcept {
  return preempt_count() & softirq_mask;
}
/// Context: any.
[[nodiscard]] inline std::uint32_t irq_count() noexcept {
  return preempt_count() & (nmi_mask | hardirq_mask | softirq_mask);
}

/// In a hard interrupt handler (or an NMI, which counts as one). Context: any.
[[nodiscard]] inline bool in_hardirq() noexcept { return hardirq_count() != 0; }
/// Serving a softirq, or with bottom halves disabled. Context: any.
[[nodiscard]] inline bool in_softirq() noexcept { return softirq_count() != 0; }
/// Serving a softirq. Context: any.
[[nodiscard]] inline bool in_serving_softirq() noexcept {
  return (softirq_count() & softirq_offset) != 0;
}
/// NMI, hardirq, softirq, or bottom halves disabled. Context: any.
[[nodiscard]] inline bool in_interrupt() noexcept { return irq_count() != 0; }
[[nodiscard]] inline bool in_nmi() noexcept { return (preempt_count() & nmi_mask) != 0; }
/// Not in NMI, hardirq or a served softirq; true with bottom halves merely disabled. Context: any.
[[nodiscard]] inline bool in_task() noexcept {
  return (preempt_count() & (nmi_mask | hardirq_mask | softirq_offset)) == 0;
}
/// `preempt_count() != 0`. Does not see that interrupts are off. Context: any.
[[nodiscard]] inline bool in_atomic() noexcept { return preempt_count() != 0; }
/// Interrupts of this CPU are held back. Context: any.
[[nodiscard]] inline bool irqs_disabled() noexcept {
  return platform::this_cpu().irqs_off.load_relaxed() != 0;
}
/// The count is 0 and interrupts are on. Context: any.
[[nodiscard]] inline bool preemptible() noexcept {
  return preempt_count() == 0 && !irqs_disabled();
}

/// Enters an atomic section; nests up to 255 deep. Context: any, NMI included. Never sleeps.
/// Order: a compiler barrier after it.
inline void preempt_disable(location where = location::current()) noexcept {
  task_words& task = platform::this_task();
  const std::uint32_t depth = task.preempt_depth.load_relaxed();
  if (depth == preempt_mask) [[unlikely]] {
    detail::context_fault_found(detail::context_fault::preempt_overflow);
    return;
  }
  platform::event::context_enter(preempt_offset);  // the last place to be preempted
  task.preempt_depth.store_relaxed(depth + preempt_offset);
  if (depth == 0) task.atomic_at = where;
  barrier();
}

/// Leaves it. Context: any, NMI included. Never sleeps. Order: a compiler barrier before it.
inline void preempt_enable() noexcept {
  barrier();
  task_words& task = platform::this_task();
  const std::uint32_t depth = task.preempt_depth.load_relaxed();
  if (depth == 0) [[unlikely]] {
    detail::context_fault_found(detail::context_fault::preempt_underflow);
    return;
  }
  task.preempt_depth.store_relaxed(depth - preempt_offset);
  platform::event::context_exit(preempt_offset);
}

}  // namespace interlock::inline INTERLOCK_PLATFORM
