// SPDX-License-Identifier: Apache-2.0
#include "interlock/wait_queue.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "interlock_platform/park.hpp"
#include "support/report_recorder.hpp"
#include "support/rounds.hpp"
#include "support/tasks.hpp"

namespace interlock {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using test::eventually;
using test::sleeps;
using test::start;

class wait_queue_test : public test::report_test {
 protected:
  /// Until `count` sleepers are queued.
  [[nodiscard]] bool queued(std::uint32_t count) const {
    return eventually([&] { return wq.queued.load_relaxed() == count; });
  }

  wait_queue wq;
  atomic<int> value{0};
};

TEST_F(wait_queue_test, a_true_predicate_does_not_queue) {
  wait_event(wq, [] { return true; });
  EXPECT_FALSE(wait_queue_active(wq));
  EXPECT_TRUE(wait_event_until(
      wq, [] { return true; }, expired_deadline));
  EXPECT_TRUE(wait_event_interruptible(wq, [] { return true; }).has_value());
}

TEST_F(wait_queue_test, wakes_when_the_predicate_holds) {
  kthread t = start("waiter", [&] { wait_event(wq, [&] { return value.load_acquire() == 2; }); });
  EXPECT_TRUE(queued(1));
  EXPECT_TRUE(wait_queue_active(wq));
  value.store_release(1);
  wake_up(wq);
  EXPECT_TRUE(queued(1)) << "a wake for nothing: it queues again";
  EXPECT_TRUE(sleeps(t.get(), task_uninterruptible));
  value.store_release(2);
  wake_up(wq);
  (void)t.join();
  EXPECT_FALSE(wait_queue_active(wq));
}

TEST_F(wait_queue_test, a_wake_without_sleepers_is_not_kept) {
  wake_up(wq);
  wake_up_all(wq);
  EXPECT_FALSE(wait_event_until(
      wq, [] { return false; }, deadline_after(milliseconds{1})));
}

TEST_F(wait_queue_test, times_out) {
  const deadline begin = monotonic_clock::now();
  EXPECT_FALSE(wait_event_until(
      wq, [] { return false; }, deadline_after(milliseconds{5})));
  EXPECT_GE(monotonic_clock::now() - begin, milliseconds{5});
  EXPECT_FALSE(wait_queue_active(wq));
  EXPECT_EQ(state_of(current_task()), task_running);
  EXPECT_EQ(wait_event_interruptible(
                wq, [] { return false; }, expired_deadline)
                .error(),
            error::timed_out);
}

TEST_F(wait_queue_test, a_stream_of_wakes_does_not_keep_a_timeout_from_passing) {
  atomic<bool> done{false};
  kthread t = start("waiter", [&] {
    EXPECT_FALSE(wait_event_until(
        wq, [] { return false; }, deadline_after(milliseconds{5})));
    done.store_release(true);
  });
  EXPECT_TRUE(eventually([&] {
    wake_up_all(wq);
    return done.load_acquire();
  }));
}

TEST_F(wait_queue_test, signals_end_the_waits_that_listen) {
  const auto never = [] { return false; };
  kthread a =
      start("a", [&]() -> int { return to_negative_errno(wait_event_interruptible(wq, never)); });
  kthread b =
      start("b", [&]() -> int { return to_negative_errno(wait_event_killable(wq, never)); });
  EXPECT_TRUE(queued(2));
  EXPECT_TRUE(sleeps(b.get(), task_killable));
  send_signal(a.get(), task_signal::interrupt);
  send_signal(b.get(), task_signal::interrupt);
  EXPECT_EQ(a.join(), to_negative_errno(error::interrupted));
  EXPECT_TRUE(queued(1));
  send_signal(b.get(), task_signal::kill);
  EXPECT_EQ(b.join(), to_negative_errno(error::interrupted));
  EXPECT_TRUE(queued(0));
}

TEST_F(wait_queue_test, interruptible_wakes_leave_others_asleep) {
  kthread deaf = start("deaf", [&] { wait_event(wq, [&] { return value.load_acquire() != 0; }); });
  EXPECT_TRUE(queued(1));
  EXPECT_TRUE(sleeps(deaf.get(), task_uninterruptible));
  wake_up_interruptible(wq);
  EXPECT_EQ(wq.queued.load_relaxed(), 1u);
  EXPECT_EQ(state_of(deaf.get()), task_uninterruptible);
  value.store_release(1);
  wake_up(wq);
  (void)deaf.join();
}

/// Takes one unit, as a semaphore does.
bool take(atomic<int>& units) {
  int seen = units.load_relaxed();
  while (seen > 0) {
    if (units.compare_exchange_acquire(seen, seen - 1)) return true;
  }
  return false;
}

TEST_F(wait_queue_test, exclusive_waiters_are_woken_one_by_one) {
  constexpr std::uint32_t threads = 4;
  std::vector<kthread> waiters;
  for (std::uint32_t i = 0; i < threads; ++i) {
    waiters.push_back(
        start("waiter", [&] { wait_event_exclusive(wq, [&] { return take(value); }); }));
  }
  EXPECT_TRUE(queued(threads));
  for (kthread& w : waiters) EXPECT_TRUE(sleeps(w.get(), task_uninterruptible));
  for (std::uint32_t i = 1; i <= threads; ++i) {
    value.fetch_add_release(1);
    wake_up(wq);
    EXPECT_TRUE(queued(threads - i));
  }
  for (kthread& w : waiters) (void)w.join();
}

TEST_F(wait_queue_test, wake_up_nr_and_all) {
  constexpr std::uint32_t threads = 5;
  std::vector<kthread> waiters;
  for (std::uint32_t i = 0; i < threads; ++i) {
    waiters.push_back(
        start("waiter", [&] { wait_event_exclusive(wq, [&] { return take(value); }); }));
  }
  EXPECT_TRUE(queued(threads));
  for (kthread& w : waiters) EXPECT_TRUE(sleeps(w.get(), task_uninterruptible));
  value.fetch_add_release(2);
  wake_up_nr(wq, 2);
  EXPECT_TRUE(queued(threads - 2));
  value.fetch_add_release(3);
  wake_up_all(wq);
  EXPECT_TRUE(queued(0));
  for (kthread& w : waiters) (void)w.join();
}

TEST_F(wait_queue_test, shared_waiters_all_wake_and_one_exclusive) {
  kthread shared[2];
  kthread exclusive[2];
  atomic<int> looks{0};
  const auto is_set = [&] {
    const bool set = value.load_acquire() != 0;
    looks.fetch_add_release(1);
    return set;
  };
  for (kthread& t : shared) t = start("shared", [&] { wait_event(wq, is_set); });
  for (kthread& t : exclusive) t = start("exclusive", [&] { wait_event_exclusive(wq, is_set); });
  EXPECT_TRUE(queued(4));
  for (kthread& t : shared) EXPECT_TRUE(sleeps(t.get(), task_uninterruptible));
  for (kthread& t : exclusive) EXPECT_TRUE(sleeps(t.get(), task_uninterruptible));
  while (looks.load_acquire() < 8) platform::yield();  // each in vain, once it was queued
  value.store_release(1);
  wake_up(wq);
  for (kthread& t : shared) (void)t.join();
  EXPECT_TRUE(queued(1));
  wake_up(wq);
  for (kthread& t : exclusive) (void)t.join();
}

/// A wake that hits an exclusive waiter on its way out by a signal goes to the next one.
TEST_F(wait_queue_test, a_wake_spent_on_a_leaving_waiter_is_passed_on) {
  for (int round = 0; round < test::rounds(200); ++round) {
    value.store_release(0);
    kthread leaving = start("leaving", [&]() -> int {
      return to_negative_errno(wait_event_interruptible_exclusive(wq, [&] { return take(value); }));
    });
    EXPECT_TRUE(queued(1));
    kthread next = start("next", [&] { wait_event_exclusive(wq, [&] { return take(value); }); });
    EXPECT_TRUE(queued(2));
    EXPECT_TRUE(sleeps(next.get(), task_uninterruptible));
    kthread signaller =
        start("signaller", [&] { send_signal(leaving.get(), task_signal::interrupt); });
    value.store_release(1);
    wake_up(wq);
    (void)signaller.join();
    if (leaving.join() == 0) {  // it took the unit: one more for the next
      value.store_release(1);
      wake_up(wq);
    }
    (void)next.join();  // or the test hangs
  }
}

/// The same, made certain: the wake and the signal reach the waiter in one sleep.
TEST_F(wait_queue_test, pass_on_wakes_the_next) {
  wait_queue_entry mine;
  init_wait_entry(mine, true);
  prepare_to_wait(wq, mine, task_interruptible);
  set_current_state(task_running);  // queued, but not asleep: what follows yields
  atomic<int> looks{0};
  kthread next = start("next", [&] {
    wait_event_exclusive(wq, [&] {
      const bool took = take(value);
      looks.fetch_add_relaxed(1);
      return took;
    });
  });
  EXPECT_TRUE(queued(2));
  EXPECT_TRUE(sleeps(next.get(), task_uninterruptible));
  while (looks.load_relaxed() < 2) platform::yield();  // in vain, once it was queued
  set_current_state(task_interruptible);
  value.store_release(1);
  wake_up(wq);
  EXPECT_TRUE(list_empty(mine.node)) << "the wake was spent here";
  EXPECT_EQ(state_of(next.get()), task_uninterruptible);
  finish_wait(wq, mine, true);
  (void)next.join();
}

TEST_F(wait_queue_test, finish_without_a_wake_passes_nothing_on) {
  wait_queue_entry mine;
  init_wait_entry(mine, true);
  prepare_to_wait(wq, mine, task_interruptible);
  set_current_state(task_running);  // queued, but not asleep: what follows yields
  atomic<int> looks{0};
  kthread next = start("next", [&] {
    wait_event_exclusive(wq, [&] {
      const bool took = take(value);
      looks.fetch_add_relaxed(1);
      return took;
    });
  });
  EXPECT_TRUE(queued(2));
  EXPECT_TRUE(sleeps(next.get(), task_uninterruptible));
  while (looks.load_relaxed() < 2) platform::yield();  // in vain, once it was queued
  finish_wait(wq, mine, true);
  EXPECT_EQ(state_of(next.get()), task_uninterruptible);
  value.store_release(1);
  wake_up(wq);
  (void)next.join();
}

TEST_F(wait_queue_test, many_wakers_and_waiters_lose_nothing) {
  constexpr int pairs = 3;
  constexpr int units = test::rounds(5000);
  std::vector<kthread> all;
  for (int i = 0; i < pairs; ++i) {
    all.push_back(start("taker", [&] {
      for (int n = 0; n < units; ++n) wait_event_exclusive(wq, [&] { return take(value); });
    }));
    all.push_back(start("giver", [&] {
      for (int n = 0; n < units; ++n) {
        value.fetch_add_release(1);
        wake_up(wq);
      }
    }));
  }
  for (kthread& t : all) (void)t.join();
  EXPECT_EQ(value.load_acquire(), 0);
}

TEST_F(wait_queue_test, waiting_in_atomic_context_is_reported_even_if_it_would_not_sleep) {
  const guard g{no_preempt};
  wait_event(wq, [] { return true; });
  EXPECT_TRUE(reports.took(report_kind::sleep_in_atomic, "wait_queue_test.cpp:"));
}

}  // namespace
}  // namespace interlock
