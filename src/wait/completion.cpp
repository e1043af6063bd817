// SPDX-License-Identifier: Apache-2.0

/// Completions: a count under the lock of a wait queue.
///
/// Invariants:
///   I1. `done_` changes under wq_.lock, so a waiter that leaves without an event, under the lock,
///       knows that none was spent on it.
///   I2. Whoever returns from a wait (or true from try_wait, done) has passed wq_.lock after the
///       complete() that let it pass: that one touches nothing but the lock's address any more.

#include "interlock/completion.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

void completion::add(std::uint32_t count, unsigned wakes) noexcept {
  guard g{irqsave, wq_.lock};
  const std::uint32_t done = done_.load_relaxed();
  done_.store_relaxed(count >= all - done ? all : done + count);
  wake_up_locked(wq_, task_normal, wakes);
}

void completion::complete() noexcept { add(1, 1); }

void completion::complete_all() noexcept { add(all, 0); }

bool completion::take() noexcept {
  const std::uint32_t done = done_.load_relaxed();
  if (done == 0) return false;
  if (done != all) done_.store_relaxed(done - 1);
  return true;
}

bool completion::try_wait() noexcept {
  if (done_.load_relaxed() == 0) return false;
  guard g{irqsave, wq_.lock};
  return take();
}

bool completion::done() const noexcept {
  if (done_.load_relaxed() == 0) return false;
  guard g{irqsave, wq_.lock};  // I2
  return done_.load_relaxed() != 0;
}

result<void> completion::wait_for_event(task_state state, deadline until, location where) noexcept
    INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {  // the lock is dropped inside the loop
  might_sleep(where);
  wait_queue_entry entry;
  init_wait_entry(entry, true);
  irq_flags flags = wq_.lock.lock(irqsave);
  bool in_time = true;
  bool interrupted = false;
  while (done_.load_relaxed() == 0 && in_time && !interrupted) {
    prepare_to_wait_locked(wq_, entry, state);
    wq_.lock.unlock(irqsave, flags);
    in_time = schedule_until(until, where);
    flags = wq_.lock.lock(irqsave);
    interrupted = done_.load_relaxed() == 0 && signal_pending_state(state);
  }
  finish_wait_locked(wq_, entry, false);
  const bool passed = take();
  wq_.lock.unlock(irqsave, flags);
  if (passed) return {};
  return interrupted ? error::interrupted : error::timed_out;
}

void completion::wait(location where) noexcept {
  (void)wait_for_event(task_uninterruptible, no_deadline, where);
}

bool completion::wait_until(deadline until, location where) noexcept {
  return wait_for_event(task_uninterruptible, until, where).has_value();
}

result<void> completion::wait_interruptible(deadline until, location where) noexcept {
  return wait_for_event(task_interruptible, until, where);
}

result<void> completion::wait_killable(deadline until, location where) noexcept {
  return wait_for_event(task_killable, until, where);
}

}  // namespace interlock::inline INTERLOCK_PLATFORM
