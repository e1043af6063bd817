// SPDX-License-Identifier: Apache-2.0

/// What ends the process, and what the actions do: each in a process of its own.

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

#include "interlock/mutex.hpp"
#include "interlock/report.hpp"
#include "interlock/spinlock.hpp"

namespace interlock {
namespace {

TEST(fatal_report, bug_on_ends_the_process_whatever_the_action) {
  EXPECT_DEATH(
      {
        set_report_action(report_action::quiet);
        INTERLOCK_BUG_ON(1 + 1 == 2);
      },
      "^kernel BUG at .*fatal_report_test.cpp:[0-9]+!\ncondition: 1 \\+ 1 == 2\n(.*\n)*Call "
      "Trace:\n #0 ");
  INTERLOCK_BUG_ON(1 + 1 == 3);
}

TEST(fatal_report, a_handler_sees_the_last_report_too) {
  EXPECT_DEATH(
      {
        set_report_handler([](const report&, void*) noexcept { std::fputs("handled\n", stderr); },
                           nullptr);
        bug_at("broken", location::current());
      },
      "handled\nkernel BUG at ");
}

TEST(fatal_report, abort_is_the_default_action) {
  EXPECT_DEATH((void)INTERLOCK_WARN_ON(true), "^WARNING: CPU: [0-9]+ PID: [0-9]+ at .* true\n");
}

TEST(fatal_report, advice_does_not_abort) {
  EXPECT_EXIT(
      {
        submit_report(report_kind::hung_task, "INFO: task x:1 blocked\n");
        std::_Exit(3);
      },
      ::testing::ExitedWithCode(3), "^INFO: task x:1 blocked\n");
}

/// Actions come from the environment, in a process that has not reported yet.
void exits_quietly_with(const char* options) {
  EXPECT_EXIT(
      {
        setenv("INTERLOCK_OPTIONS", options, 1);
        (void)INTERLOCK_WARN_ON(true);
        std::_Exit(report_count() == 1 ? 3 : 4);
      },
      ::testing::ExitedWithCode(3), "");
}

TEST(fatal_report, the_option_chooses_log) {
  EXPECT_EXIT(
      {
        setenv("INTERLOCK_OPTIONS", "report=log", 1);
        (void)INTERLOCK_WARN_ON(true);
        std::_Exit(3);
      },
      ::testing::ExitedWithCode(3), "^WARNING: ");
}

TEST(fatal_report, the_option_chooses_quiet) { exits_quietly_with("report=quiet"); }

TEST(fatal_report, log_prints_one_might_sleep_a_second) {
  EXPECT_EXIT(
      {
        set_report_action(report_action::log);
        preempt_disable();
        for (int i = 0; i < 5; ++i) might_sleep();
        std::fprintf(stderr, "made %d\n", static_cast<int>(report_count()));
        std::_Exit(3);
      },
      ::testing::ExitedWithCode(3),
      "^BUG: sleeping function called[^\n]*\n([^B\n][^\n]*\n)*made 5\n$");
}

TEST(fatal_report, spinlock_recursion) {
  EXPECT_DEATH(
      []() INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
        static spinlock lock;
        set_report_action(report_action::quiet);
        lock.lock(no_mask);
        lock.lock(no_mask);
      }(),
      "^BUG: spinlock recursion on CPU#[0-9]+, .*/[0-9]+\n lock: 0x[0-9a-f]+, .owner: [0-9]+\n"
      "Preemption disabled at: .*fatal_report_test.cpp:");
}

TEST(fatal_report, spinlock_recursion_from_an_interrupt) {
  EXPECT_DEATH(
      []() INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
        static spinlock lock;
        lock.lock(no_mask);
        platform::this_cpu().interrupt_count.store_relaxed(hardirq_offset);
        lock.lock(no_mask);
      }(),
      "^BUG: spinlock recursion on CPU#");
}

TEST(fatal_report, mutex_recursion) {
  EXPECT_DEATH(
      []() INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
        static mutex m;
        m.lock();
        m.lock();
      }(),
      "^WARNING: possible recursive locking detected\n.*/[0-9]+ is trying to acquire the mutex at "
      "0x[0-9a-f]+, which it holds, at .*fatal_report_test.cpp:");
}

}  // namespace
}  // namespace interlock
