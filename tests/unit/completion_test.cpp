// SPDX-License-Identifier: Apache-2.0
#include "interlock/completion.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "support/report_recorder.hpp"
#include "support/rounds.hpp"
#include "support/tasks.hpp"

namespace interlock {
namespace {

using std::chrono::milliseconds;
using test::eventually;
using test::sleeps;
using test::start;

class completion_test : public test::report_test {
 protected:
  completion c;
};

TEST_F(completion_test, counts_events) {
  EXPECT_FALSE(c.done());
  EXPECT_FALSE(c.try_wait());
  c.complete();
  c.complete();
  EXPECT_TRUE(c.done());
  c.wait();
  EXPECT_TRUE(c.try_wait());
  EXPECT_FALSE(c.try_wait());
  EXPECT_FALSE(c.wait_until(deadline_after(milliseconds{1})));
}

TEST_F(completion_test, complete_all_lets_all_pass_until_reinit) {
  c.complete_all();
  for (int i = 0; i < 3; ++i) {
    c.wait();
    EXPECT_TRUE(c.try_wait());
  }
  c.complete();
  EXPECT_TRUE(c.done());
  c.reinit();
  EXPECT_FALSE(c.done());
  EXPECT_FALSE(c.try_wait());
}

TEST_F(completion_test, each_complete_wakes_one_waiter) {
  constexpr int threads = 4;
  atomic<int> passed{0};
  std::vector<kthread> waiters;
  for (int i = 0; i < threads; ++i) {
    waiters.push_back(start("waiter", [&] {
      c.wait();
      passed.fetch_add_release(1);
    }));
  }
  for (kthread& w : waiters) EXPECT_TRUE(sleeps(w.get(), task_uninterruptible));
  for (int i = 1; i <= threads; ++i) {
    c.complete();
    EXPECT_TRUE(eventually([&] { return passed.load_acquire() == i; }));
  }
  for (kthread& w : waiters) (void)w.join();
  EXPECT_FALSE(c.done());
}

TEST_F(completion_test, complete_all_wakes_all_waiters) {
  std::vector<kthread> waiters;
  for (int i = 0; i < 4; ++i) waiters.push_back(start("waiter", [&] { c.wait(); }));
  for (kthread& w : waiters) EXPECT_TRUE(sleeps(w.get(), task_uninterruptible));
  c.complete_all();
  for (kthread& w : waiters) (void)w.join();
}

TEST_F(completion_test, what_came_before_complete_is_visible) {
  for (int i = 0; i < test::rounds(200); ++i) {
    completion one;
    int plain = 0;
    kthread t = start("completer", [&] {
      plain = i;
      one.complete();
    });
    one.wait();
    EXPECT_EQ(plain, i);
    (void)t.join();
  }
}

TEST_F(completion_test, signals_and_timeouts_end_the_waits_that_listen) {
  kthread a = start("a", [&]() -> int { return to_negative_errno(c.wait_interruptible()); });
  kthread b = start("b", [&]() -> int { return to_negative_errno(c.wait_killable()); });
  EXPECT_TRUE(sleeps(a.get(), task_interruptible));
  EXPECT_TRUE(sleeps(b.get(), task_killable));
  send_signal(b.get(), task_signal::interrupt);
  EXPECT_TRUE(sleeps(b.get(), task_killable));
  send_signal(a.get(), task_signal::interrupt);
  send_signal(b.get(), task_signal::kill);
  EXPECT_EQ(a.join(), to_negative_errno(error::interrupted));
  EXPECT_EQ(b.join(), to_negative_errno(error::interrupted));
  EXPECT_EQ(c.wait_interruptible(deadline_after(milliseconds{1})).error(), error::timed_out);
  EXPECT_EQ(c.wait_killable(expired_deadline).error(), error::timed_out);
  EXPECT_FALSE(c.done()) << "a wait that fails uses nothing up";
}

TEST_F(completion_test, a_complete_wins_over_signal_and_timeout) {
  c.complete();
  EXPECT_TRUE(c.wait_until(expired_deadline));
  kthread t = start("signalled", [&]() -> int {
    send_signal(current_task(), task_signal::kill);
    c.complete();
    return to_negative_errno(c.wait_interruptible());
  });
  EXPECT_EQ(t.join(), 0);
}

/// An event that reaches a waiter which leaves by a signal is there for the other one.
TEST_F(completion_test, an_interrupted_waiter_loses_no_event) {
  for (int round = 0; round < test::rounds(200); ++round) {
    completion one;
    kthread leaving =
        start("leaving", [&]() -> int { return to_negative_errno(one.wait_interruptible()); });
    EXPECT_TRUE(sleeps(leaving.get(), task_interruptible));
    kthread next = start("next", [&] { one.wait(); });
    EXPECT_TRUE(sleeps(next.get(), task_uninterruptible));
    kthread signaller =
        start("signaller", [&] { send_signal(leaving.get(), task_signal::interrupt); });
    one.complete();
    (void)signaller.join();
    if (leaving.join() == 0) one.complete();
    (void)next.join();  // or the test hangs
  }
}

/// The waiter owns the completion, and ends its life as soon as the wait returns. The memory is
/// overwritten at once, so that a completer which is still inside it trips.
TEST_F(completion_test, may_be_destroyed_as_soon_as_the_wait_returns) {
  constexpr int rounds = test::rounds(3000, 6);
  atomic<completion*> next{nullptr};
  kthread completer = start("completer", [&] {
    for (int i = 0; i < rounds; ++i) {
      completion* one = nullptr;
      while ((one = next.exchange_acquire(nullptr)) == nullptr) schedule();
      one->complete();
    }
  });
  for (int i = 0; i < rounds; ++i) {
    alignas(completion) unsigned char memory[sizeof(completion)];
    auto* const one = new (memory) completion;
    next.store_release(one);
    if (i % 3 == 0) {
      one->wait();
    } else if (i % 3 == 1) {
      while (!one->done()) schedule();
    } else {
      while (!one->try_wait()) schedule();
    }
    one->~completion();
    for (unsigned char& byte : memory) byte = 0xff;
  }
  (void)completer.join();
}

TEST_F(completion_test, waiting_in_atomic_context_is_reported_even_if_it_would_not_sleep) {
  c.complete();
  const guard g{no_preempt};
  c.wait();
  EXPECT_TRUE(reports.took(report_kind::sleep_in_atomic, "completion_test.cpp:"));
}

TEST_F(completion_test, completes_from_atomic_context) {
  const guard g{irqsave};
  c.complete();
  EXPECT_TRUE(c.try_wait());
  c.complete_all();
}

}  // namespace
}  // namespace interlock
