// SPDX-License-Identifier: Apache-2.0

/// Tasks: states, sleeping and waking, timeouts, signals, what a sleep in atomic context reports.

#include "interlock/task.hpp"

#include <gtest/gtest.h>

#include <string>

#include "interlock/guard.hpp"
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

class task_test : public test::report_test {
 protected:
  task& self = current_task();
};

TEST_F(task_test, current_task_is_stable_and_running) {
  EXPECT_EQ(&current_task(), &self);
  EXPECT_EQ(state_of(self), task_running);
  EXPECT_NE(task_id(self), 0u);
  EXPECT_EQ(current_task_ref().get(), &self);
}

TEST_F(task_test, threads_are_different_tasks) {
  ref_ptr<task> other;
  kthread t = start("other", [&] { other = current_task_ref(); });
  (void)t.join();
  ASSERT_TRUE(other);
  EXPECT_NE(other.get(), &self);
  EXPECT_NE(task_id(*other), task_id(self));
  EXPECT_STREQ(task_name(*other), "other");
}

TEST_F(task_test, a_task_outlives_its_thread_as_dead) {
  ref_ptr<task> ended;
  kthread t = start("ended", [&] { ended = current_task_ref(); });
  (void)t.join();
  EXPECT_EQ(state_of(*ended), task_state::dead);
  EXPECT_FALSE(wake_up_process(*ended));
  EXPECT_FALSE(wake_up_state(*ended, task_state::dead)) << "nothing wakes the dead";
  send_signal(*ended, task_signal::kill);
  EXPECT_EQ(state_of(*ended), task_state::dead);
}

TEST_F(task_test, wakes_only_a_state_in_the_mask) {
  set_current_state(task_interruptible);
  EXPECT_EQ(state_of(self), task_interruptible);
  EXPECT_FALSE(wake_up_state(self, task_uninterruptible));
  EXPECT_EQ(state_of(self), task_interruptible);
  EXPECT_TRUE(wake_up_state(self, task_interruptible));
  EXPECT_EQ(state_of(self), task_running);
  EXPECT_FALSE(wake_up_process(self)) << "it is running";

  set_current_state(task_killable);
  EXPECT_FALSE(wake_up_state(self, task_interruptible));
  EXPECT_TRUE(wake_up_state(self, task_state::wakekill));
  set_current_state(task_killable);
  EXPECT_TRUE(wake_up_process(self)) << "killable is uninterruptible for a plain wake";
  set_current_state_raw(task_running);
}

TEST_F(task_test, a_wake_before_schedule_is_not_lost) {
  set_current_state(task_uninterruptible);
  EXPECT_TRUE(wake_up_process(self));
  schedule();
  EXPECT_EQ(state_of(self), task_running);
}

TEST_F(task_test, a_wake_ends_a_sleep) {
  for (const task_state state : {task_interruptible, task_uninterruptible, task_killable}) {
    atomic<bool> done{false};
    kthread t = start("sleeper", [&] {
      set_current_state(state);
      while (!done.load_acquire()) {
        schedule();
        set_current_state(state);
      }
      set_current_state(task_running);
    });
    EXPECT_TRUE(sleeps(t.get(), state));
    done.store_release(true);
    wake_up_process(t.get());  // unless it has seen `done` by itself
    (void)t.join();
  }
}

TEST_F(task_test, counts_wakes_from_real_sleeps_only) {
  schedule();
  set_current_state(task_interruptible);
  EXPECT_TRUE(wake_up_process(self));
  schedule();
  (void)schedule_timeout(ktime::zero());
  EXPECT_EQ(wakeups_of(self), 0u);
  kthread t = start("sleeper", [] {
    while (!kthread_should_stop()) {
      set_current_state(task_interruptible);
      if (!kthread_should_stop()) schedule();
    }
    set_current_state(task_running);
  });
  // A thread that sleeps long enough to park is woken from a park.
  EXPECT_TRUE(eventually([&] {
    (void)sleeps(t.get(), task_interruptible);
    (void)schedule_timeout(ktime{10'000});
    wake_up_process(t.get());
    return wakeups_of(t.get()) != 0;
  }));
}

/// The protocol of task.hpp under load: no wake may be lost, whatever the timing.
TEST_F(task_test, ping_pong_loses_no_wake) {
  constexpr std::uint32_t rounds = test::rounds(20'000);
  atomic<std::uint32_t> ball{0};
  const auto wait_for = [&](std::uint32_t wanted) {
    while (true) {
      set_current_state(task_uninterruptible);
      if (ball.load_acquire() == wanted) break;
      schedule();
    }
    set_current_state_raw(task_running);
  };
  const ref_ptr<task> first = current_task_ref();
  kthread second = start("second", [&] {
    for (std::uint32_t i = 0; i < rounds; ++i) {
      wait_for(2 * i + 1);
      ball.store_release(2 * i + 2);
      wake_up_process(*first);
    }
  });
  for (std::uint32_t i = 0; i < rounds; ++i) {
    ball.store_release(2 * i + 1);
    wake_up_process(second.get());
    wait_for(2 * i + 2);
  }
  (void)second.join();
  EXPECT_EQ(ball.load_relaxed(), 2 * rounds);
}

TEST_F(task_test, timeout_passes) {
  const deadline begin = monotonic_clock::now();
  ktime left{1};
  do {  // some other wake is no failure
    set_current_state(task_uninterruptible);
    left = schedule_timeout(milliseconds{5});
  } while (left != ktime::zero());
  EXPECT_GE(monotonic_clock::now() - begin, milliseconds{5});
  EXPECT_EQ(state_of(self), task_running);
}

TEST_F(task_test, timeout_returns_what_is_left) {
  atomic<ktime::rep> left{-1};
  kthread t = start("sleeper", [&] {
    set_current_state(task_interruptible);
    left.store_release(schedule_timeout(seconds{100}).count());
  });
  EXPECT_TRUE(sleeps(t.get(), task_interruptible));
  EXPECT_TRUE(wake_up_process(t.get()));
  (void)t.join();
  EXPECT_GT(left.load_acquire(), ktime{seconds{80}}.count());
  EXPECT_LE(left.load_acquire(), ktime{seconds{100}}.count());
}

TEST_F(task_test, zero_timeout_does_not_sleep_on) {
  set_current_state(task_interruptible);
  EXPECT_EQ(schedule_timeout(ktime::zero()), ktime::zero());
  EXPECT_EQ(state_of(self), task_running);
}

TEST_F(task_test, running_state_yields) {
  EXPECT_GT(schedule_timeout(seconds{100}), ktime{seconds{80}});
  EXPECT_TRUE(schedule_until(no_deadline));
  EXPECT_FALSE(schedule_until(expired_deadline));
}

TEST_F(task_test, negative_timeout_is_reported_in_the_kernels_words) {
  set_current_state(task_interruptible);
  EXPECT_EQ(schedule_timeout(ktime{-1}), ktime::zero());
  EXPECT_EQ(state_of(self), task_running);
  EXPECT_TRUE(reports.took(report_kind::warning,
                           "schedule_timeout: wrong timeout value ffffffffffffffff\n"));
}

TEST_F(task_test, max_timeout_sets_no_timer_and_returns_itself) {
  atomic<bool> same{false};
  kthread t = start("sleeper", [&] {
    set_current_state(task_interruptible);
    same.store_release(schedule_timeout(max_schedule_timeout) == max_schedule_timeout);
  });
  EXPECT_TRUE(sleeps(t.get(), task_interruptible));
  EXPECT_TRUE(wake_up_process(t.get()));
  (void)t.join();
  EXPECT_TRUE(same.load_acquire());
}

TEST_F(task_test, deadlines_saturate) {
  EXPECT_EQ(deadline_after(max_schedule_timeout), no_deadline);
  EXPECT_EQ(deadline_after(max_schedule_timeout - ktime{1}), no_deadline);
  EXPECT_LT(deadline_after(seconds{1}), no_deadline);
  EXPECT_LT(deadline_after(-seconds{1}), monotonic_clock::now());
}

TEST_F(task_test, sleep_for_sleeps_through_stray_wakes) {
  atomic<bool> done{false};
  kthread t = start("sleeper", [&] {
    const deadline begin = monotonic_clock::now();
    sleep_for(milliseconds{5});
    EXPECT_GE(monotonic_clock::now() - begin, milliseconds{5});
    done.store_release(true);
  });
  EXPECT_TRUE(eventually([&] {
    wake_up_process(t.get());
    return done.load_acquire();
  }));
  sleep_for(-seconds{1});
}

struct signal_case {
  const char* name;
  task_state state;
  task_signal signal;
  bool ends;
};

class signals : public ::testing::TestWithParam<signal_case> {};

TEST_P(signals, end_the_sleeps_that_listen) {
  const signal_case& c = GetParam();
  atomic<bool> woke{false};
  kthread t = start("sleeper", [&] {
    set_current_state(c.state);
    if (!kthread_should_stop()) schedule();
    woke.store_release(true);
  });
  EXPECT_TRUE(sleeps(t.get(), c.state));
  send_signal(t.get(), c.signal);
  if (c.ends) {
    EXPECT_TRUE(eventually([&] { return woke.load_acquire(); }));
  } else {
    EXPECT_EQ(state_of(t.get()), c.state);
  }
  EXPECT_TRUE(signal_pending(t.get()));
  EXPECT_EQ(fatal_signal_pending(t.get()), c.signal == task_signal::kill);
}

TEST_P(signals, pending_ones_keep_the_sleep_from_beginning) {
  const signal_case& c = GetParam();
  kthread t = start("signalled", [&] {
    send_signal(current_task(), c.signal);
    EXPECT_EQ(signal_pending_state(c.state), c.ends);
    EXPECT_FALSE(signal_pending_state(task_running));
    set_current_state(c.state);
    if (c.ends) {
      schedule();  // returns at once, or the test hangs
    } else {
      EXPECT_EQ(schedule_timeout(ktime{1000}), ktime::zero());
    }
    EXPECT_EQ(state_of(current_task()), task_running);
  });
  (void)t.join();
}

INSTANTIATE_TEST_SUITE_P(
    states, signals,
    ::testing::Values(
        signal_case{"interrupt_interruptible", task_interruptible, task_signal::interrupt, true},
        signal_case{"interrupt_killable", task_killable, task_signal::interrupt, false},
        signal_case{"interrupt_uninterruptible", task_uninterruptible, task_signal::interrupt,
                    false},
        signal_case{"kill_interruptible", task_interruptible, task_signal::kill, true},
        signal_case{"kill_killable", task_killable, task_signal::kill, true},
        signal_case{"kill_uninterruptible", task_uninterruptible, task_signal::kill, false}),
    [](const auto& tested) { return std::string{tested.param.name}; });

TEST_F(task_test, flush_clears_interrupts_and_never_kills) {
  kthread t = start("signalled", [] {
    send_signal(current_task(), task_signal::interrupt);
    flush_signals();
    EXPECT_FALSE(signal_pending());
    send_signal(current_task(), task_signal::kill);
    flush_signals();
    EXPECT_TRUE(fatal_signal_pending());
  });
  (void)t.join();
}

TEST_F(task_test, cond_resched_answers_a_request_once) {
  EXPECT_FALSE(need_resched());
  EXPECT_FALSE(cond_resched());
  set_need_resched(self);
  EXPECT_TRUE(need_resched());
  EXPECT_TRUE(cond_resched());
  EXPECT_FALSE(cond_resched());
  platform::this_cpu().need_resched.store_relaxed(1);
  EXPECT_TRUE(cond_resched());
  EXPECT_FALSE(need_resched());
}

TEST_F(task_test, schedule_in_atomic_context_is_reported) {
  const int line = __LINE__ + 1;
  preempt_disable();
  schedule();
  preempt_enable();
  const std::string head = "BUG: scheduling while atomic: ";
  ASSERT_TRUE(reports.took(report_kind::schedule_in_atomic, head.c_str()));
  const std::string text{reports.text()};
  EXPECT_EQ(text.find(head), 0u);
  EXPECT_NE(text.find('/' + std::to_string(task_id(self)) + "/0x00000001\n"), std::string::npos);
  EXPECT_NE(text.find("Preemption disabled at: "), std::string::npos);
  EXPECT_NE(text.find("task_test.cpp:" + std::to_string(line) + '\n'), std::string::npos);
}

TEST_F(task_test, schedule_with_interrupts_off_or_inside_a_reader_is_reported) {
  {
    const guard g{irqsave};
    schedule();
  }
  EXPECT_TRUE(reports.took(report_kind::schedule_in_atomic, "/0x00000000\n"));
  platform::this_task().rcu.store_relaxed(1);
  schedule();
  platform::this_task().rcu.store_relaxed(0);
  EXPECT_TRUE(reports.took(report_kind::schedule_in_atomic, "RCU nest depth: 1\n"));
}

TEST_F(task_test, sleeping_functions_check_also_when_they_do_not_sleep) {
  const guard g{no_preempt};
  (void)cond_resched();
  EXPECT_TRUE(reports.took(report_kind::sleep_in_atomic, "BUG: sleeping function called"));
  EXPECT_TRUE(std::string{reports.text()}.find("task_test.cpp:") != std::string::npos);
}

}  // namespace
}  // namespace interlock
