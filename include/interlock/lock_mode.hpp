// SPDX-License-Identifier: Apache-2.0
#pragma once

/// The irq mode of a spinning lock, always written: `guard g{irqsave, lock};`.
///
/// | who else takes the lock           | mode in tasks | mode in softirqs | mode in hardirqs |
/// |-----------------------------------|---------------|------------------|------------------|
/// | tasks only                        | `no_mask`     | -                | -                |
/// | tasks and softirqs                | `mask_bh`     | `no_mask`        | -                |
/// | tasks, softirqs, hardirq handlers | `irqsave`     | `irqsave`        | `no_mask`        |
///
/// A lock that a handler takes and a task holds without masking the handler deadlocks that CPU.
/// Source: Linux Documentation/kernel-hacking/locking.rst (the table's facts).

#include "interlock/bottom_half.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

struct no_mask_t {
  explicit no_mask_t() = default;
};
struct mask_bh_t {
  explicit mask_bh_t() = default;
};
struct irqsave_t {
  explicit irqsave_t() = default;
};

inline constexpr no_mask_t no_mask{};  ///< masks nothing
inline constexpr mask_bh_t mask_bh{};  ///< holds off softirqs of this CPU
inline constexpr irqsave_t irqsave{};  ///< holds off interrupts of this CPU, restores their state

}  // namespace interlock::inline INTERLOCK_PLATFORM
