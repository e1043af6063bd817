// SPDX-License-Identifier: Apache-2.0

/// Sleeping and waking: the state word, and parking on it.
///
/// Invariants:
///   I1. Only the task itself makes its state anything but `running`; only a waker's
///       compare-and-swap or the task itself makes it `running`.
///   I2. A waker that changes the state does so once per sleep: so there is at most one unpark per
///       park, and after its compare-and-swap it knows the task by address only.
///   I3. The task parks only while its word holds exactly its state with the parked bit: a wake
///       that comes before makes the park return at once.
/// Ordering:
///   [W1] sleeper: state, barrier, condition        [W2] waker: condition, barrier, state
///   Either [W1]'s side sees the condition or [W2]'s side sees the state (store buffering with full
///   barriers on both sides). The same pair, with `signals` for the condition, makes signals safe;
///   there schedule() itself supplies the sleeper's barrier [W3], so that a state announced with
///   set_current_state_raw() is safe too.
///   [W4] the waker's compare-and-swap releases, [W5] the sleeper acquires what came before the
///   wake.
///
///     sleeper                              waker
///     word: running -> state               condition = true
///     [W1]                                 [W2]
///     if (!condition)                      if (word & mask)
///       word: state -> state|parked          [W4] word: -> running
///       park(word == state|parked)           if (it had parked) unpark(word)
///     [W5]

#include "interlock_platform/park.hpp"
#include "report/report_lines.hpp"
#include "sched/task_impl.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {
namespace {

constexpr std::uint32_t running_word = 0;
constexpr std::uint32_t listens_to_interrupt = static_cast<std::uint32_t>(task_interruptible);
constexpr std::uint32_t listens_to_kill = static_cast<std::uint32_t>(task_state::wakekill);
constexpr std::uint32_t wakeable =
    listens_to_interrupt | listens_to_kill | static_cast<std::uint32_t>(task_uninterruptible);

constexpr std::uint32_t bits(task_signal signal) noexcept {
  return static_cast<std::uint32_t>(signal);
}

void report_schedule_in_atomic(location where) noexcept {
  report_text text;
  text << "BUG: scheduling while atomic: ";
  detail::put_self(text);
  text << "/0x";
  text.hex(preempt_count(), 8) << '\n'
                               << "called at: " << where
                               << ", irqs_disabled(): " << int{irqs_disabled()}
                               << ", RCU nest depth: "
                               << (platform::this_task().rcu.load_relaxed() &
                                   detail::rcu_nesting_mask)
                               << '\n';
  detail::put_atomic_places(text);
  submit_report(report_kind::schedule_in_atomic, text);
}

/// Parks until the state is `running` or `until`; it is `running` then.
void park_for_wake(task& self, deadline until, platform::deadline_kind kind) noexcept {
  std::uint32_t seen = self.word.load_relaxed();
  bool slept = false;
  while (seen != running_word) {
    if ((seen & detail::parked_bit) == 0) {
      // Relaxed: the word's own modification order decides between this and the waker (I3).
      if (!self.word.compare_exchange_relaxed(seen, seen | detail::parked_bit)) continue;
      seen |= detail::parked_bit;
    }
    const platform::park_result end =
        platform::park(self.word, seen, until, platform::park_scope::process, kind);
    if (end == platform::park_result::timed_out) {
      self.word.exchange_acquire(
          running_word);  // [W5] pairs with [W4]: a waker may have been first
      return;
    }
    slept = slept || end == platform::park_result::woken;
    seen = self.word.load_relaxed();
  }
  detail::learn_from_park(self, slept);
}

/// From a state that is not `running`, until it is.
void sleep(task& self, task_state state, deadline until, platform::deadline_kind kind) noexcept {
  smp_mb();  // [W3] pairs with [W2] in send_signal
  const bool has_deadline = until != no_deadline && kind != platform::deadline_kind::watchdog;
  const auto is_woken = [&self] { return self.word.load_relaxed() == running_word; };
  if (signal_pending_state(state)) {
    self.word.store_relaxed(running_word);
  } else if (until == expired_deadline || !detail::spin_before_park(self, has_deadline, is_woken)) {
    park_for_wake(self, until, kind);
  }
  (void)self.word.load_acquire();  // [W5] pairs with [W4]
}

}  // namespace

void set_current_state(task_state state) noexcept {
  current_task().word.store_relaxed(static_cast<std::uint32_t>(state));
  smp_mb();  // [W1] pairs with [W2]
}

void set_current_state_raw(task_state state) noexcept {
  current_task().word.store_relaxed(static_cast<std::uint32_t>(state));
}

void detail::check_may_sleep_now(location where) noexcept {
  if (!sleep_allowed()) [[unlikely]]
    report_schedule_in_atomic(where);
}

bool detail::schedule_until(deadline until, platform::deadline_kind kind, location where) noexcept {
  check_may_sleep_now(where);
  task& self = current_task();
  const task_state state = state_of(self);
  if (state == task_running) {
    platform::yield();
    smp_mb();
  } else {
    sleep(self, state, until, kind);
  }
  // By the clock, whoever ended the sleep: else a stream of wakes would keep a timeout from
  // passing.
  return until == no_deadline || platform::now() < until;
}

bool schedule_until(deadline until, location where) noexcept {
  return detail::schedule_until(until, platform::deadline_kind::timeout, where);
}

void schedule(location where) noexcept { (void)schedule_until(no_deadline, where); }

ktime schedule_timeout(ktime timeout, location where) noexcept {
  if (timeout == max_schedule_timeout) {
    schedule(where);
    return timeout;
  }
  if (timeout < ktime::zero()) {
    report_text text;
    text << "schedule_timeout: wrong timeout value ";
    text.hex(static_cast<std::uint64_t>(timeout.count())) << "\ncalled at: " << where << '\n';
    submit_report(report_kind::warning, text);
    set_current_state_raw(task_running);
    return ktime::zero();
  }
  const deadline until = deadline_after(timeout);
  if (!schedule_until(until, where)) return ktime::zero();
  const ktime left = until - platform::now();
  return left > ktime::zero() ? left : ktime::zero();
}

detail::begun_wake detail::begin_wake(task& t, task_state mask) noexcept {
  smp_mb();  // [W2] pairs with [W1], [W3]
  const std::uint32_t listening = static_cast<std::uint32_t>(mask) & wakeable;
  std::uint32_t seen = t.word.load_relaxed();
  do {
    if ((seen & listening) == 0) return {false, nullptr};
  } while (!t.word.compare_exchange_acq_rel(seen, running_word));  // [W4] pairs with [W5]
  return {true, (seen & parked_bit) != 0 ? &t.word : nullptr};
}

bool wake_up_state(task& t, task_state mask) noexcept {
  const detail::begun_wake wake = detail::begin_wake(t, mask);
  if (wake.parked != nullptr) platform::unpark(*wake.parked, 1);  // by address only (I2)
  return wake.woke;
}

bool wake_up_process(task& t) noexcept { return wake_up_state(t, task_normal); }

void send_signal(task& t, task_signal signal) noexcept {
  t.signals.fetch_or_release(bits(signal));  // [G1] pairs with [G2]
  const task_state listeners =
      signal == task_signal::kill ? task_interruptible | task_state::wakekill : task_interruptible;
  (void)wake_up_state(t, listeners);  // its [W2] stands between the bit and the state
}

bool signal_pending(const task& t) noexcept {
  return t.signals.load_acquire() != 0;  // [G2] pairs with [G1]
}

bool fatal_signal_pending(const task& t) noexcept {
  return (t.signals.load_acquire() & bits(task_signal::kill)) != 0;  // [G2] pairs with [G1]
}

bool signal_pending_state(task_state state) noexcept {
  const auto listening = static_cast<std::uint32_t>(state);
  if ((listening & (listens_to_interrupt | listens_to_kill)) == 0) return false;
  const task& self = current_task();
  return (listening & listens_to_interrupt) != 0 ? signal_pending(self)
                                                 : fatal_signal_pending(self);
}

void flush_signals() noexcept {
  current_task().signals.fetch_and_relaxed(~bits(task_signal::interrupt));
}

bool need_resched() noexcept {
  const task* const self = detail::task_if_any();
  return platform::this_cpu().need_resched.load_relaxed() != 0 ||
         (self != nullptr && self->resched.load_relaxed() != 0);
}

void set_need_resched(task& t) noexcept { t.resched.store_relaxed(1); }

bool cond_resched(location where) noexcept {
  might_sleep(where);
  if (!need_resched()) return false;
  platform::this_cpu().need_resched.store_relaxed(0);
  current_task().resched.store_relaxed(0);
  platform::yield();
  return true;
}

}  // namespace interlock::inline INTERLOCK_PLATFORM
