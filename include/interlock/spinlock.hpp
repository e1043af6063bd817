// SPDX-License-Identifier: Apache-2.0
#pragma once

/// `spinlock`: mutual exclusion for every context. Four bytes, C layout.
///
/// Waiting is bounded spinning, then parking in the OS: in user space the holder may be
/// descheduled, and who only spins then burns its time slice. Unfair.
///
/// | bits | meaning                                                                              |
/// |------|--------------------------------------------------------------------------------------|
/// | 0    | locked                                                                               |
/// | 1    | contended: a waiter may be parked. May be set with none; never clear with one parked |
/// | 2-31 | id of the task that holds it (of the interrupted task, in a handler); 0 when free    |
///
/// Invariants: I1. word == 0 when free. I2. Only the holder's id is stored with bit 0.
/// Ordering:   [S1] lock acquires what [S2] unlock released.
/// Misuse (recursion, unlock by another task or of a free lock) is reported in the kernel's format,
/// "BUG: spinlock recursion on CPU#..."; recursion would never end, so it ends the process.

#include "interlock/guard.hpp"
#include "interlock/report.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

struct INTERLOCK_CAPABILITY("spinlock") spinlock {
  /// Unlocked. Its class is its declaration, see lock_class.hpp.
  /// Context: any but NMI.
  template <class Here = decltype([] {})>
  INTERLOCK_ALWAYS_INLINE constexpr spinlock(declared_at here = declared_at::current()) noexcept
      : spinlock{declaration<Here>{}, here.where(), nullptr} {}
  /// As `part` of a larger primitive, declared by `Here`. Internal; `part` has static storage.
  template <class Here>
  INTERLOCK_ALWAYS_INLINE constexpr spinlock(declaration<Here>, location where,
                                             const char* part) noexcept {
    platform::event::lock_init<Here>(this, where, part);
  }
  /// In the place of one whose holder has stayed with the parent of a fork: free, and of its class. Internal.
  struct remade {};
  explicit spinlock(remade) noexcept { platform::event::lock_abandoned(this); }
  spinlock(const spinlock&) = delete;
  spinlock& operator=(const spinlock&) = delete;

  /// Locks. Context: any but NMI, as far as the mode allows (see lock_mode.hpp); preemption is
  /// disabled until unlock. Never sleeps: parking by the OS is invisible, as preemption is.
  void lock(no_mask_t, location where = location::current()) noexcept INTERLOCK_ACQUIRE();
  void lock(mask_bh_t, location where = location::current()) noexcept INTERLOCK_ACQUIRE();
  [[nodiscard]] irq_flags lock(irqsave_t, location where = location::current()) noexcept
      INTERLOCK_ACQUIRE();

  /// Locks if that is possible at once. Context: any, NMI included.
  [[nodiscard]] bool try_lock(no_mask_t, location where = location::current()) noexcept
      INTERLOCK_TRY_ACQUIRE(true);
  [[nodiscard]] bool try_lock(mask_bh_t, location where = location::current()) noexcept
      INTERLOCK_TRY_ACQUIRE(true);
  [[nodiscard]] bool try_lock(irqsave_t, irq_flags& flags,
                              location where = location::current()) noexcept
      INTERLOCK_TRY_ACQUIRE(true);

  /// Unlocks, in the mode of the lock. Context: any; that of the lock.
  void unlock(no_mask_t) noexcept INTERLOCK_RELEASE();
  void unlock(mask_bh_t) noexcept INTERLOCK_RELEASE();
  void unlock(irqsave_t, irq_flags flags) noexcept INTERLOCK_RELEASE();

  /// True if somebody holds it. Context: any. A hint, unless the caller holds it.
  [[nodiscard]] bool is_locked() const noexcept;
  /// True if the current task holds it, or the one that a handler has interrupted.
  /// Context: any.
  [[nodiscard]] INTERLOCK_API bool held_by_current() const noexcept;
  /// Reports unless the current task holds it.
  /// Context: any.
  INTERLOCK_API void assert_held(location where = location::current()) const noexcept
      INTERLOCK_ASSERT_CAPABILITY(this);

 private:
  static constexpr std::uint32_t locked_bit = 1u << 0;
  static constexpr std::uint32_t contended_bit = 1u << 1;
  static constexpr unsigned id_shift = 2;

  void acquire(std::uint32_t mode, location where) noexcept;
  bool try_acquire(std::uint32_t mode, location where) noexcept;
  void release() noexcept;
  bool acquire_spinning(std::uint32_t own) noexcept;
  void acquire_parking(std::uint32_t own) noexcept;
  INTERLOCK_API void acquire_slow() noexcept;
  INTERLOCK_API void release_slow(std::uint32_t seen) noexcept;
  INTERLOCK_API static std::uint32_t enlisted_word() noexcept;
  static std::uint32_t own_word() noexcept;

  atomic<std::uint32_t> word_{0};
};

static_assert(sizeof(spinlock) == 4);

inline std::uint32_t spinlock::own_word() noexcept {
  const std::uint32_t id = platform::this_task().id.load_relaxed();
  if (id == 0) [[unlikely]]
    return enlisted_word();
  return (id << id_shift) | locked_bit;
}

/// `mode`, of platform::event::mode, and `where` are nothing but announced.
inline bool spinlock::try_acquire(std::uint32_t mode, location where) noexcept {
  std::uint32_t expected = 0;
  platform::event::lock_acquire(this, mode, true, where);
  if (!word_.compare_exchange_acquire(expected, own_word())) {  // [S1]
    platform::event::lock_abandoned(this);
    return false;
  }
  platform::event::lock_acquired(this);
  return true;
}

inline void spinlock::acquire(std::uint32_t mode, location where) noexcept {
  std::uint32_t expected = 0;
  platform::event::lock_acquire(this, mode, false, where);
  if (!word_.compare_exchange_acquire(expected, own_word())) [[unlikely]] {  // [S1] pairs with [S2]
    acquire_slow();
  }
  platform::event::lock_acquired(this);
}

inline void spinlock::release() noexcept {
  platform::event::lock_release(this);
  const std::uint32_t seen = word_.exchange_release(0);  // [S2] pairs with [S1]
  if (seen != own_word()) [[unlikely]]
    release_slow(seen);
}

inline void spinlock::lock(no_mask_t, location where) noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  preempt_disable(where);
  acquire(platform::event::mode::plain, where);
}
inline void spinlock::lock(mask_bh_t, location where) noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  local_bh_disable(where);
  preempt_disable(where);
  acquire(platform::event::mode::bh, where);
}
inline irq_flags spinlock::lock(irqsave_t,
                                location where) noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  const irq_flags flags = local_irq_save(where);
  preempt_disable(where);
  acquire(platform::event::mode::irqsave, where);
  return flags;
}

inline bool spinlock::try_lock(no_mask_t,
                               location where) noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  preempt_disable(where);
  if (try_acquire(platform::event::mode::plain, where)) return true;
  preempt_enable();
  return false;
}
inline bool spinlock::try_lock(mask_bh_t,
                               location where) noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  local_bh_disable(where);
  preempt_disable(where);
  if (try_acquire(platform::event::mode::bh, where)) return true;
  preempt_enable();
  local_bh_enable();
  return false;
}
inline bool spinlock::try_lock(irqsave_t, irq_flags& flags,
                               location where) noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  flags = local_irq_save(where);
  preempt_disable(where);
  if (try_acquire(platform::event::mode::irqsave, where)) return true;
  preempt_enable();
  local_irq_restore(flags);
  return false;
}

inline void spinlock::unlock(no_mask_t) noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  release();
  preempt_enable();
}
inline void spinlock::unlock(mask_bh_t) noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  release();
  preempt_enable();
  local_bh_enable();
}
inline void spinlock::unlock(irqsave_t,
                             irq_flags flags) noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  release();
  // Interrupts first, then preemption: a replayed handler still finds an atomic section, as one
  // that arrives here does.
  local_irq_restore(flags);
  preempt_enable();
}

inline bool spinlock::is_locked() const noexcept { return word_.load_relaxed() != 0; }

template <>
class INTERLOCK_SCOPED_CAPABILITY guard<no_mask_t, spinlock> {
 public:
  [[nodiscard]] guard(no_mask_t, spinlock& lock, location where = location::current()) noexcept
      INTERLOCK_ACQUIRE(lock)
      : lock_{lock} {
    lock_.lock(no_mask, where);
  }
  guard(const guard&) = delete;
  guard& operator=(const guard&) = delete;
  ~guard() INTERLOCK_RELEASE() { lock_.unlock(no_mask); }

 private:
  spinlock& lock_;
};

template <>
class INTERLOCK_SCOPED_CAPABILITY guard<mask_bh_t, spinlock> {
 public:
  [[nodiscard]] guard(mask_bh_t, spinlock& lock, location where = location::current()) noexcept
      INTERLOCK_ACQUIRE(lock)
      : lock_{lock} {
    lock_.lock(mask_bh, where);
  }
  guard(const guard&) = delete;
  guard& operator=(const guard&) = delete;
  ~guard() INTERLOCK_RELEASE() { lock_.unlock(mask_bh); }

 private:
  spinlock& lock_;
};

template <>
class INTERLOCK_SCOPED_CAPABILITY guard<irqsave_t, spinlock> {
 public:
  [[nodiscard]] guard(irqsave_t, spinlock& lock, location where = location::current()) noexcept
      INTERLOCK_ACQUIRE(lock)
      : lock_{lock}, flags_{lock_.lock(irqsave, where)} {}
  guard(const guard&) = delete;
  guard& operator=(const guard&) = delete;
  ~guard() INTERLOCK_RELEASE() { lock_.unlock(irqsave, flags_); }

 private:
  spinlock& lock_;
  irq_flags flags_;
};

guard(no_mask_t, spinlock&)->guard<no_mask_t, spinlock>;
guard(no_mask_t, spinlock&, location)->guard<no_mask_t, spinlock>;
guard(mask_bh_t, spinlock&)->guard<mask_bh_t, spinlock>;
guard(mask_bh_t, spinlock&, location)->guard<mask_bh_t, spinlock>;
guard(irqsave_t, spinlock&)->guard<irqsave_t, spinlock>;
guard(irqsave_t, spinlock&, location)->guard<irqsave_t, spinlock>;

}  // namespace interlock::inline INTERLOCK_PLATFORM
