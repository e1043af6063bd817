// SPDX-License-Identifier: Apache-2.0
#include "interlock/stop_token.hpp"

#include <gtest/gtest.h>

#include "interlock/completion.hpp"
#include "support/report_recorder.hpp"
#include "support/rounds.hpp"
#include "support/tasks.hpp"

namespace interlock {
namespace {

using test::sleeps;
using test::start;

class stop_token_test : public test::report_test {
 protected:
  std::stop_source source;
  completion never;
};

TEST_F(stop_token_test, ends_interruptible_waits) {
  kthread t = start("waiter", [&]() -> int {
    const signal_on_stop s{source.get_token()};
    return to_negative_errno(never.wait_interruptible());
  });
  EXPECT_TRUE(sleeps(t.get(), task_interruptible));
  source.request_stop();
  EXPECT_EQ(t.join(), to_negative_errno(error::interrupted));
}

TEST_F(stop_token_test, can_send_kills) {
  kthread t = start("waiter", [&]() -> int {
    const signal_on_stop s{source.get_token(), task_signal::kill};
    return to_negative_errno(never.wait_killable());
  });
  EXPECT_TRUE(sleeps(t.get(), task_killable));
  source.request_stop();
  EXPECT_EQ(t.join(), to_negative_errno(error::interrupted));
}

TEST_F(stop_token_test, a_stop_that_came_before_counts) {
  source.request_stop();
  kthread t = start("waiter", [&]() -> int {
    const signal_on_stop s{source.get_token()};
    EXPECT_TRUE(signal_pending());
    const int end = to_negative_errno(never.wait_interruptible());
    flush_signals();
    EXPECT_FALSE(signal_pending());
    return end;
  });
  EXPECT_EQ(t.join(), to_negative_errno(error::interrupted));
}

TEST_F(stop_token_test, sends_nothing_after_its_scope) {
  kthread t = start("waiter", [&] {
    { const signal_on_stop s{source.get_token()}; }
    source.request_stop();
    EXPECT_FALSE(signal_pending());
  });
  (void)t.join();
}

TEST_F(stop_token_test, holds_a_reference_to_the_task) {
  kthread t = start("target", [] {});
  const task& target = t.get();
  auto s = std::make_unique<signal_on_stop>(source.get_token(), task_signal::interrupt, t.get());
  (void)t.join();
  // Its memory is not given to the tasks of other threads.
  for (int i = 0; i < test::rounds(20); ++i) {
    start("other", [&] { EXPECT_NE(&current_task(), &target); }).join();
  }
  source.request_stop();  // the thread has ended
  s.reset();
}

}  // namespace
}  // namespace interlock
