// SPDX-License-Identifier: Apache-2.0
#pragma once

/// `mutex`: a sleeping lock for tasks. Owner checked, adaptive (spins briefly, because the owner
/// may be about to unlock, then sleeps), unfair with a wake of one waiter per unlock; a waiter that
/// was overtaken several times is handed the lock.
///
/// | bits | meaning                                                                              |
/// |------|--------------------------------------------------------------------------------------|
/// | 0    | waiters: unlock wakes the first of the list                                          |
/// | 1    | handoff: unlock gives the lock to the first of the list                              |
/// | 2-31 | id of the task that owns it, 0 when free                                             |
///
/// Ordering: [M1] lock acquires what [M2] unlock released.
/// Misuse is reported: recursion (which would never end, so it ends the process), unlock by a task
/// that does not own it, use in atomic context, a task that ends while it owns one (at its end).
/// In the child of a fork the forking task still owns what it owned, and nobody waits; what another
/// thread owned stays locked.
/// Lifetime: may be destroyed by whoever locked and unlocked it last, at once.
/// Source: Linux Documentation/locking/mutex-design.rst (semantics).

#include "interlock/guard.hpp"
#include "interlock/list.hpp"
#include "interlock/result.hpp"
#include "interlock/spinlock.hpp"
#include "interlock/task.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

struct INTERLOCK_CAPABILITY("mutex") mutex {
  /// Unlocked. Its class is its declaration, see lock_class.hpp.
  /// Context: any but NMI.
  template <class Here = decltype([] {})>
  INTERLOCK_ALWAYS_INLINE constexpr mutex(declared_at here = declared_at::current()) noexcept
      : wait_lock_{declaration<Here>{}, here.where(), "wait_lock"}, waiters_{&waiters_, &waiters_} {
    platform::event::lock_init<Here>(this, here.where(), nullptr);
  }
  /// See spinlock. Internal.
  explicit mutex(spinlock::remade anew) noexcept
      : wait_lock_{anew}, waiters_{&waiters_, &waiters_} {
    platform::event::lock_abandoned(this);
  }
  mutex(const mutex&) = delete;
  mutex& operator=(const mutex&) = delete;

  /// Locks, sleeping uninterruptibly. Context: task, may sleep.
  void lock(location where = location::current()) noexcept INTERLOCK_ACQUIRE();
  /// Errors: interrupted, on a task signal (kill for the killable form), the lock is not taken.
  /// Of its success no compile-time analysis knows: go on with `guard g{adopt, m}`.
  /// Context: task, may sleep.
  [[nodiscard]] INTERLOCK_API result<void> lock_interruptible(
      location where = location::current()) noexcept;
  /// Context: task, may sleep.
  [[nodiscard]] INTERLOCK_API result<void> lock_killable(
      location where = location::current()) noexcept;
  /// False if `until` passed first. Context: task, may sleep.
  [[nodiscard]] INTERLOCK_API bool try_lock_until(deadline until,
                                                  location where = location::current()) noexcept
      INTERLOCK_TRY_ACQUIRE(true);
  /// Context: task (an interrupt has no task to own it; reported). Never sleeps.
  [[nodiscard]] INTERLOCK_API bool try_lock(location where = location::current()) noexcept
      INTERLOCK_TRY_ACQUIRE(true);
  /// Context: the owning task. Never sleeps.
  void unlock() noexcept INTERLOCK_RELEASE();

  /// Context: any.
  [[nodiscard]] bool is_locked() const noexcept { return (word_.load_relaxed() >> 2) != 0; }
  /// True if the current task owns it; what `rcu_dereference_protected` wants to hear.
  /// Context: any.
  [[nodiscard]] INTERLOCK_API bool held_by_current() const noexcept;
  /// Reports unless the current task owns it.
  /// Context: task.
  INTERLOCK_API void assert_held(location where = location::current()) const noexcept
      INTERLOCK_ASSERT_CAPABILITY(this);

 private:
  struct waiter;
  static constexpr std::uint32_t waiters_bit = 1u << 0;
  static constexpr std::uint32_t handoff_bit = 1u << 1;
  static constexpr std::uint32_t flags = waiters_bit | handoff_bit;
  static constexpr unsigned id_shift = 2;

  INTERLOCK_API void lock_out_of_line(location where) noexcept;
  INTERLOCK_API void unlock_out_of_line() noexcept;
  INTERLOCK_API void release_slow() noexcept;
  static void count_held(unsigned change) noexcept;
  result<void> acquire(task_state state, deadline until, location where) noexcept;
  result<void> acquire_slow(task_state state, deadline until, location where) noexcept;
  result<void> wait_for_turn(waiter& self, task_state state, deadline until,
                             location where) noexcept;
  bool try_take(const waiter& self) noexcept;
  bool spin_briefly(std::uint32_t own) noexcept;
  waiter& first_waiter() noexcept;
  void give_up(waiter& self) noexcept;
  bool pass_on(std::uint32_t own) noexcept;
  void leave_parent() noexcept;

  atomic<std::uint32_t> word_{0};
  spinlock wait_lock_;
  list_head waiters_;                    ///< protected by wait_lock_
  atomic<std::uint32_t> generation_{0};  ///< the process whose tasks wait; see mutex.cpp
};

inline void mutex::count_held(unsigned change) noexcept {
  atomic<std::uint16_t>& held = platform::this_task().mutexes;
  held.store_relaxed(static_cast<std::uint16_t>(held.load_relaxed() + change));
}

inline void mutex::lock(location where) noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  if constexpr (platform::inlines_fast_paths) {
    const std::uint32_t id = platform::this_task().id.load_relaxed();
    std::uint32_t expected = 0;
    // [M1] pairs with [M2]
    if (id != 0 && sleep_allowed() && word_.compare_exchange_acquire(expected, id << id_shift))
        [[likely]] {
      platform::event::might_sleep();
      platform::event::lock_acquire(this, platform::event::mode::sleeping, false, where);
      platform::event::lock_acquired(this);
      count_held(1);
      return;
    }
  }
  lock_out_of_line(where);
}

inline void mutex::unlock() noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  if constexpr (platform::inlines_fast_paths) {
    const std::uint32_t id = platform::this_task().id.load_relaxed();
    if (id != 0 && in_task()) [[likely]] {
      platform::event::lock_release(this);
      std::uint32_t expected = id << id_shift;
      if (!word_.compare_exchange_release(expected, 0)) [[unlikely]]  // [M2] pairs with [M1]
        release_slow();
      count_held(0u - 1u);
      return;
    }
  }
  unlock_out_of_line();
}

template <>
class INTERLOCK_SCOPED_CAPABILITY guard<mutex> {
 public:
  [[nodiscard]] explicit guard(mutex& m, location where = location::current()) noexcept
      INTERLOCK_ACQUIRE(m)
      : mutex_{m} {
    mutex_.lock(where);
  }
  guard(const guard&) = delete;
  guard& operator=(const guard&) = delete;
  ~guard() INTERLOCK_RELEASE() { mutex_.unlock(); }

 private:
  mutex& mutex_;
};

/// Unlocks at the end of the scope what the current task has locked (reported otherwise).
template <>
class INTERLOCK_SCOPED_CAPABILITY guard<adopt_t, mutex> {
 public:
  [[nodiscard]] guard(adopt_t, mutex& m, location where = location::current()) noexcept
      INTERLOCK_ACQUIRE(m) INTERLOCK_NO_THREAD_SAFETY_ANALYSIS : mutex_{m} {
    mutex_.assert_held(where);
  }
  guard(const guard&) = delete;
  guard& operator=(const guard&) = delete;
  ~guard() INTERLOCK_RELEASE() { mutex_.unlock(); }

 private:
  mutex& mutex_;
};

guard(adopt_t, mutex&)->guard<adopt_t, mutex>;
guard(adopt_t, mutex&, location)->guard<adopt_t, mutex>;
guard(mutex&)->guard<mutex>;
guard(mutex&, location)->guard<mutex>;

}  // namespace interlock::inline INTERLOCK_PLATFORM
