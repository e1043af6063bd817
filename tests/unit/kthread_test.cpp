// SPDX-License-Identifier: Apache-2.0
#include "interlock/kthread.hpp"

#include <gtest/gtest.h>

#include <memory>

#include "support/report_recorder.hpp"
#include "support/rounds.hpp"
#include "support/tasks.hpp"

namespace interlock {
namespace {

using test::sleeps;
using test::start;

class kthread_test : public test::report_test {};

/// Sleeps until it is stopped; what a driver's thread looks like.
int sleep_until_stopped(task_state state, int value) {
  while (true) {
    set_current_state(state);
    if (kthread_should_stop()) break;
    schedule();
  }
  set_current_state(task_running);
  return value;
}

TEST_F(kthread_test, stop_wakes_every_kind_of_sleep_and_returns_the_value) {
  for (const task_state state : {task_interruptible, task_uninterruptible, task_killable}) {
    kthread t = start("sleeper", [state] { return sleep_until_stopped(state, 42); });
    EXPECT_TRUE(sleeps(t.get(), state));
    EXPECT_EQ(t.stop(), 42);
    EXPECT_FALSE(t.joinable());
  }
}

TEST_F(kthread_test, stop_before_the_thread_sleeps_is_not_lost) {
  for (int i = 0; i < test::rounds(200); ++i) {
    kthread t = start("sleeper", [] { return sleep_until_stopped(task_uninterruptible, 1); });
    EXPECT_EQ(t.stop(), 1);
  }
}

TEST_F(kthread_test, a_thread_that_ended_by_itself_keeps_its_value) {
  kthread t = start("short", [] { return 7; });
  EXPECT_TRUE(test::eventually([&] { return state_of(t.get()) == task_state::dead; }));
  EXPECT_EQ(t.stop(), 7);
}

TEST_F(kthread_test, join_waits_without_a_stop_request) {
  atomic<bool> asked{false};
  kthread t = start("joined", [&] {
    asked.store_release(kthread_should_stop());
    return 3;
  });
  EXPECT_EQ(t.join(), 3);
  EXPECT_FALSE(asked.load_acquire());
}

TEST_F(kthread_test, has_its_task_at_once) {
  kthread t =
      start("a name that is too long", [] { return sleep_until_stopped(task_interruptible, 0); });
  EXPECT_NE(task_id(t.get()), 0u);
  EXPECT_STREQ(task_name(t.get()), "a name that is ");
}

TEST_F(kthread_test, the_destructor_stops) {
  ref_ptr<task> stopped;
  {
    kthread t = start("scoped", [] { return sleep_until_stopped(task_uninterruptible, 0); });
    stopped = ref_ptr<task>::share(t.get());
  }
  EXPECT_EQ(state_of(*stopped), task_state::dead);
}

TEST_F(kthread_test, moves) {
  kthread a = start("first", [] { return sleep_until_stopped(task_interruptible, 1); });
  kthread b = std::move(a);
  EXPECT_FALSE(a.joinable());  // NOLINT(bugprone-use-after-move): a moved-from handle is empty
  const ref_ptr<task> first = ref_ptr<task>::share(b.get());
  b = start("second", [] { return sleep_until_stopped(task_interruptible, 2); });
  EXPECT_EQ(state_of(*first), task_state::dead) << "assignment stops what was held";
  kthread& same = b;
  b = std::move(same);
  EXPECT_EQ(b.stop(), 2);
}

TEST_F(kthread_test, the_function_is_destroyed_at_the_threads_end) {
  const auto token = std::make_shared<int>(0);
  kthread t = start("owner", [token] {});
  EXPECT_EQ(t.stop(), 0) << "a function that returns void has the value 0";
  EXPECT_EQ(token.use_count(), 1);
}

TEST_F(kthread_test, what_the_stopper_wrote_is_visible) {
  int plain = 0;
  kthread t = start("reader", [&] {
    sleep_until_stopped(task_interruptible, 0);
    return plain;
  });
  plain = 5;
  EXPECT_EQ(t.stop(), 5);
}

TEST_F(kthread_test, only_the_stopped_thread_should_stop) {
  EXPECT_FALSE(kthread_should_stop());
  kthread t = start("inner", [] { return sleep_until_stopped(task_interruptible, 0); });
  kthread u = start("other", [] { return kthread_should_stop() ? 1 : 0; });
  EXPECT_EQ(u.join(), 0);
  EXPECT_EQ(t.stop(), 0);
}

TEST_F(kthread_test, an_empty_handle_answers_with_an_error) {
  kthread t;
  EXPECT_EQ(t.stop(), to_negative_errno(error::no_such_process));
  EXPECT_EQ(t.join(), to_negative_errno(error::no_such_process));
}

TEST_F(kthread_test, stopping_oneself_is_reported) {
  kthread t;
  atomic<bool> ready{false};
  atomic<int> answer{0};
  t = start("self", [&] {
    while (!ready.load_acquire()) schedule();
    answer.store_release(t.stop());
  });
  ready.store_release(true);
  EXPECT_TRUE(test::eventually([&] { return answer.load_acquire() != 0; }));
  EXPECT_EQ(answer.load_acquire(), to_negative_errno(error::resource_deadlock_would_occur));
  EXPECT_EQ(t.stop(), 0) << "and changed nothing";
  EXPECT_TRUE(reports.took(report_kind::warning, "kthread::stop"));
}

TEST_F(kthread_test, the_c_edge_destroys_its_argument) {
  static int destroyed = 0;
  result<kthread> t = kthread_run_raw(
      "raw", [](void* argument) { return *static_cast<int*>(argument); }, new int{9},
      [](void* argument) {
        ++destroyed;
        delete static_cast<int*>(argument);
      });
  ASSERT_TRUE(t.has_value());
  EXPECT_EQ(t->join(), 9);
  EXPECT_EQ(destroyed, 1);
}

TEST_F(kthread_test, starting_and_stopping_may_sleep) {
  preempt_disable();
  kthread t = start("checked", [] {});
  (void)t.stop();
  preempt_enable();
  EXPECT_TRUE(reports.took(report_kind::sleep_in_atomic, "BUG: sleeping function called"));
  EXPECT_TRUE(reports.took(report_kind::sleep_in_atomic, "BUG: sleeping function called"));
  EXPECT_TRUE(reports.took(report_kind::sleep_in_atomic, "BUG: sleeping function called"));
}

}  // namespace
}  // namespace interlock
