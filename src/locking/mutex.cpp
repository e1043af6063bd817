// SPDX-License-Identifier: Apache-2.0

/// `mutex`: a word with the owner, and a list of sleepers behind a spinlock.
///
/// Invariants:
///   I1. The owner changes from 0 by anybody's compare-and-swap, from an id by the owner only. The
///       other bits are set under wait_lock_ only, and cleared by it or by the owner's release.
///   I2. While the list is not empty, either waiters_bit is set, so that the owner's release will
///       wake the first waiter, or a waiter that was woken has not looked at the word yet; it takes
///       the lock, sets the bit again, or (leaving by error) sees to it that one of both holds for
///       the others. Until it has looked, locks and unlocks of others are as cheap as without it.
///   I3. Whoever releases under wait_lock_ does it because of a waiter, who passes wait_lock_ once
///       more before it leaves. Without waiters the release comes after wait_lock_. So whoever
///       destroys the mutex after the last unlock finds nobody inside an earlier one.
///   I4. A waiter finds its own id in the word before it took anything only by handoff.
///   I5. wait_lock_ and the list are touched only after leave_parent(): in the child of a fork they
///       may hold tasks that stayed with the parent, whose stacks are reused.
/// Ordering:
///   [M1] each compare-and-swap to an id acquires, [M2] each store of a free or handed word
///   releases. A waiter announces its state under wait_lock_, and the owner looks for it under
///   wait_lock_ or after; so the state needs no barrier of its own.

#include "interlock/mutex.hpp"

#include <memory>

#include "interlock_platform/lifecycle.hpp"
#include "interlock_platform/park.hpp"
#include "report/report_lines.hpp"
#include "sched/spin.hpp"
#include "sched/task_impl.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {
namespace {

/// A waiter that was overtaken asks for a handoff when it has waited so long. A handoff costs all
/// others a context switch, so it is for those who would starve.
constexpr ktime handoff_after = std::chrono::milliseconds{1};

std::uint32_t own_id() noexcept {
  const std::uint32_t id = platform::this_task().id.load_relaxed();
  return id != 0 ? id : detail::reporter_id();
}

task& self_task() noexcept {
  task* const self = detail::task_if_any();
  return self != nullptr ? *self : current_task();
}

bool owned_by_self(std::uint32_t owner) noexcept {
  const task_words& self = platform::this_task();
  // A lock held across a fork bears the id from before it.
  return owner != 0 && (owner == self.id.load_relaxed() || owner == self.former_id);
}

[[noreturn]] void report_recursion(const mutex* lock, location where) noexcept {
  report_text text;
  text << "WARNING: possible recursive locking detected\n";
  detail::put_self(text);
  text << " is trying to acquire the mutex at 0x";
  text.hex(reinterpret_cast<std::uintptr_t>(lock)) << ", which it holds, at " << where << '\n';
  submit_fatal_report(report_kind::mutex_misuse, text);
}

}  // namespace

struct mutex::waiter {
  list_head node;
  task* sleeper;
  std::uint32_t own;
};

/// I5. The first to come in a process makes the list anew; `generation_` tells the others when.
void mutex::leave_parent() noexcept {
  constexpr std::uint32_t changing = 1u << 31;
  const std::uint32_t here = platform::fork_generation();
  std::uint32_t seen = generation_.load_acquire();  // [M4] pairs with [M3]
  while (seen != here) [[unlikely]] {
      if (seen != (here | changing) &&
          generation_.compare_exchange_acquire(seen, here | changing)) {
        std::construct_at(&wait_lock_, spinlock::remade{});
        list_init(waiters_);
        word_.fetch_and_relaxed(~flags);
        generation_.store_release(here);  // [M3] pairs with [M4]
        return;
      }
      platform::yield();
      seen = generation_.load_acquire();  // [M4] pairs with [M3]
    }
}

/// Takes a free lock, or one that was handed over; else makes its owner come by (I2).
/// Pre: `self` is queued, under wait_lock_.
bool mutex::try_take(const waiter& self) noexcept {
  const bool alone = waiters_.next == waiters_.prev;
  std::uint32_t seen = word_.load_acquire();  // [M1] pairs with [M2], for a handoff
  while (true) {
    if ((seen & ~flags) == self.own) return true;  // I4
    if ((seen >> id_shift) == 0) {
      const std::uint32_t taken = self.own | (alone ? 0 : waiters_bit);
      if (word_.compare_exchange_acquire(seen, taken)) return true;  // [M1] pairs with [M2]
    } else if ((seen & waiters_bit) != 0 ||
               word_.compare_exchange_relaxed(seen, seen | waiters_bit)) {
      return false;
    }
  }
}

bool mutex::spin_briefly(std::uint32_t own) noexcept {
  const std::uint32_t limit = detail::spin_limit();
  for (std::uint32_t spun = 0; spun < limit; ++spun) {
    std::uint32_t seen = word_.load_relaxed();
    if ((seen >> id_shift) == 0 && (seen & handoff_bit) == 0 &&
        word_.compare_exchange_acquire(seen, own | seen)) {  // [M1] pairs with [M2]
      return true;
    }
    platform::cpu_relax();
  }
  return false;
}

/// Without the lock. Under wait_lock_ on entry and on return.
void mutex::give_up(waiter& self) noexcept {
  list_del_init(self.node);
  if (list_empty(waiters_)) {
    word_.fetch_and_relaxed(~flags);
    return;
  }
  // The wake may have been spent on this one: I2 for the others.
  std::uint32_t seen = word_.load_relaxed();
  while ((seen >> id_shift) != 0) {
    if (word_.compare_exchange_relaxed(seen, seen | waiters_bit)) return;
  }
  (void)wake_up_state(*first_waiter().sleeper, task_normal);
}

/// Under wait_lock_ on entry and on return, not while it sleeps.
result<void> mutex::wait_for_turn(waiter& self, task_state state, deadline until,
                                  location where) noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  deadline impatient = no_deadline;
  bool in_time = true;
  while (true) {
    set_current_state_raw(state);
    if (try_take(self)) return {};
    if (!in_time) return error::timed_out;
    if (signal_pending_state(state)) return error::interrupted;
    const deadline now = platform::now();
    if (impatient == no_deadline) impatient = now + handoff_after;
    if (now >= impatient && &first_waiter() == &self) word_.fetch_or_relaxed(handoff_bit);
    wait_lock_.unlock(no_mask);
    in_time = schedule_until(until, where);
    wait_lock_.lock(no_mask);
  }
}

result<void> mutex::acquire_slow(task_state state, deadline until,
                                 location where) noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  const std::uint32_t own = own_id() << id_shift;
  if (owned_by_self(word_.load_relaxed() >> id_shift)) report_recursion(this, where);
  if (spin_briefly(own)) return {};
  waiter self{{}, &self_task(), own};
  leave_parent();
  wait_lock_.lock(no_mask);
  list_add_tail(self.node, waiters_);
  result<void> end = wait_for_turn(self, state, until, where);
  set_current_state_raw(task_running);
  if (end) {
    list_del_init(self.node);
  } else {
    give_up(self);
  }
  wait_lock_.unlock(no_mask);
  return end;
}

result<void> mutex::acquire(task_state state, deadline until, location where) noexcept {
  might_sleep(where);
  platform::event::lock_acquire(this, platform::event::mode::sleeping, false, where);
  std::uint32_t expected = 0;
  if (!word_.compare_exchange_acquire(expected, own_id() << id_shift)) {  // [M1] pairs with [M2]
    if (const result<void> end = acquire_slow(state, until, where); !end) {
      platform::event::lock_abandoned(this);
      return end;
    }
  }
  platform::event::lock_acquired(this);
  count_held(1);
  return {};
}

void mutex::lock_out_of_line(location where) noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  (void)acquire(task_uninterruptible, no_deadline, where);
}

result<void> mutex::lock_interruptible(location where) noexcept {
  return acquire(task_interruptible, no_deadline, where);
}

result<void> mutex::lock_killable(location where) noexcept {
  return acquire(task_killable, no_deadline, where);
}

bool mutex::try_lock_until(deadline until,
                           location where) noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  return acquire(task_uninterruptible, until, where).has_value();
}

bool mutex::try_lock(location where) noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  if (!in_task()) [[unlikely]] {
    detail::locks_warning(report_kind::mutex_misuse, "in_interrupt()", "mutex::try_lock");
    return false;
  }
  platform::event::lock_acquire(this, platform::event::mode::sleeping, true, where);
  std::uint32_t expected = 0;
  if (!word_.compare_exchange_acquire(expected, own_id() << id_shift)) {  // [M1] pairs with [M2]
    platform::event::lock_abandoned(this);
    return false;
  }
  platform::event::lock_acquired(this);
  count_held(1);
  return true;
}

mutex::waiter& mutex::first_waiter() noexcept {
  return *INTERLOCK_CONTAINER_OF(waiters_.next, waiter, node);
}

/// Frees the lock, or hands it over, and wakes the first waiter. False if one came meanwhile.
bool mutex::pass_on(std::uint32_t own) noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  wait_lock_.lock(no_mask);
  if (list_empty(waiters_)) {
    word_.fetch_and_relaxed(~flags);
    wait_lock_.unlock(no_mask);
    // After wait_lock_, not under it: the next owner may destroy the mutex (I3).
    std::uint32_t expected = own;
    return word_.compare_exchange_release(expected, 0);  // [M2] pairs with [M1]
  }
  const waiter& first = first_waiter();
  const bool alone = waiters_.next == waiters_.prev;
  const bool handoff = (word_.load_relaxed() & handoff_bit) != 0;
  const std::uint32_t handed = first.own | (alone ? 0 : waiters_bit);
  task& sleeper = *first.sleeper;
  intrusive_get(sleeper);                     // it may end as soon as wait_lock_ is free
  word_.store_release(handoff ? handed : 0);  // [M2] pairs with [M1]; I2
  wait_lock_.unlock(no_mask);
  (void)wake_up_state(sleeper, task_normal);
  intrusive_put(sleeper);
  return true;
}

void mutex::release_slow() noexcept {
  const std::uint32_t owner = word_.load_relaxed() >> id_shift;
  if (!owned_by_self(owner)) {
    detail::locks_warning(report_kind::mutex_misuse, "__owner_task(owner) != current",
                          "mutex::unlock");
    count_held(1);  // the caller is about to count it off
    return;
  }
  leave_parent();
  while (!pass_on(owner << id_shift)) {
  }
}

void mutex::unlock_out_of_line() noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  if (!in_task()) [[unlikely]] {
    detail::locks_warning(report_kind::mutex_misuse, "in_interrupt()", "mutex::unlock");
    return;
  }
  platform::event::lock_release(this);
  std::uint32_t expected = own_id() << id_shift;
  if (!word_.compare_exchange_release(expected, 0)) release_slow();  // [M2] pairs with [M1]
  count_held(0u - 1u);
}

bool mutex::held_by_current() const noexcept {
  return owned_by_self(word_.load_relaxed() >> id_shift);
}

void mutex::assert_held(location where) const noexcept {
  if (held_by_current()) return;
  report_text text;
  detail::put_warning(text);
  text << where << " mutex::assert_held\n";
  submit_report(report_kind::mutex_misuse, text);
}

}  // namespace interlock::inline INTERLOCK_PLATFORM
