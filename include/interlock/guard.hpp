// SPDX-License-Identifier: Apache-2.0
#pragma once

/// `guard`: holds a lock or a context for a scope.
///
///   guard g{irqsave, lock};     // a spinlock, with its irq mode
///   guard g{mutex};             // a sleeping lock
///   guard g{adopt, mutex};      // one that lock_interruptible or lock_killable has taken
///   guard g{rcu};               // an RCU reader   (rcupdate.hpp)
///   guard g{irqsave};           // interrupts off  (lock_mode.hpp)
///   guard g{no_preempt};        // an atomic section
///
/// Each spelling is a specialisation that stands beside what it guards.

#include "interlock/annotate.hpp"
#include "interlock/lock_mode.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

template <class... What>
class guard;

struct adopt_t {
  explicit adopt_t() = default;
};
inline constexpr adopt_t adopt{};

struct no_preempt_t {
  explicit no_preempt_t() = default;
};
inline constexpr no_preempt_t no_preempt{};

template <>
class guard<irqsave_t> {
 public:
  [[nodiscard]] explicit guard(irqsave_t, location where = location::current()) noexcept
      : flags_{local_irq_save(where)} {}
  guard(const guard&) = delete;
  guard& operator=(const guard&) = delete;
  ~guard() { local_irq_restore(flags_); }

 private:
  irq_flags flags_;
};

template <>
class guard<mask_bh_t> {
 public:
  [[nodiscard]] explicit guard(mask_bh_t, location where = location::current()) noexcept {
    local_bh_disable(where);
  }
  guard(const guard&) = delete;
  guard& operator=(const guard&) = delete;
  ~guard() { local_bh_enable(); }
};

template <>
class guard<no_preempt_t> {
 public:
  [[nodiscard]] explicit guard(no_preempt_t, location where = location::current()) noexcept {
    preempt_disable(where);
  }
  guard(const guard&) = delete;
  guard& operator=(const guard&) = delete;
  ~guard() { preempt_enable(); }
};

guard(irqsave_t)->guard<irqsave_t>;
guard(irqsave_t, location)->guard<irqsave_t>;
guard(mask_bh_t)->guard<mask_bh_t>;
guard(mask_bh_t, location)->guard<mask_bh_t>;
guard(no_preempt_t)->guard<no_preempt_t>;
guard(no_preempt_t, location)->guard<no_preempt_t>;

}  // namespace interlock::inline INTERLOCK_PLATFORM
