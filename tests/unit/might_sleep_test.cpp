// SPDX-License-Identifier: Apache-2.0

/// What `might_sleep()` complains about, and in which words.

#include "interlock/might_sleep.hpp"

#include <gtest/gtest.h>

#include <string>

#include "interlock/spinlock.hpp"
#include "support/libdw.hpp"
#include "support/report_recorder.hpp"

namespace interlock {
namespace {

class might_sleep_test : public test::report_test {
 protected:
  /// The place of `line` in this file, as reports write it.
  static std::string place(int line) { return std::string{__FILE__} + ':' + std::to_string(line); }

  [[nodiscard]] bool says(const std::string& text) const {
    return std::string{reports.text()}.find(text) != std::string::npos;
  }
};

TEST_F(might_sleep_test, is_silent_where_a_sleep_is_allowed) { might_sleep(); }

TEST_F(might_sleep_test, names_the_place_in_the_kernels_first_line) {
  preempt_disable();
  const int line = __LINE__ + 1;
  might_sleep();
  preempt_enable();
  const std::string first =
      "BUG: sleeping function called from invalid context at " + place(line) + '\n';
  ASSERT_TRUE(reports.took(report_kind::sleep_in_atomic, first.c_str()));
  EXPECT_EQ(std::string{reports.text()}.find(first), 0u);
  EXPECT_TRUE(says("\nin_atomic(): 1, irqs_disabled(): 0, non_block: 0, pid: "));
  EXPECT_TRUE(says(", name: "));
  EXPECT_TRUE(says("\npreempt_count: 1, expected: 0\n"));
  EXPECT_TRUE(says("\nRCU nest depth: 0, expected: 0\n"));
  EXPECT_TRUE(says("\nCall Trace:\n #0 "));
}

[[gnu::noinline]] void sleep_in_an_atomic_section() {
  preempt_disable();
  might_sleep();
  preempt_enable();
}

TEST_F(might_sleep_test, names_the_function_that_sleeps) {
  SKIP_WITHOUT_LIBDW();
  sleep_in_an_atomic_section();
  ASSERT_TRUE(reports.took(report_kind::sleep_in_atomic, "BUG: sleeping"));
  const std::string text{reports.text()};
  EXPECT_NE(text.find("sleep_in_an_atomic_section", text.find("\nCall Trace:\n")),
            std::string::npos)
      << text;
}

TEST_F(might_sleep_test, says_where_preemption_was_disabled) {
  const int line = __LINE__ + 1;
  preempt_disable();
  preempt_disable();
  might_sleep();
  preempt_enable();
  preempt_enable();
  ASSERT_TRUE(reports.took(report_kind::sleep_in_atomic, "preempt_count: 2, expected: 0\n"));
  EXPECT_TRUE(says("\nPreemption disabled at: " + place(line) + '\n'));
  EXPECT_FALSE(says("Interrupts disabled at"));
}

TEST_F(might_sleep_test, says_where_interrupts_were_disabled) {
  const int line = __LINE__ + 1;
  const irq_flags flags = local_irq_save();
  might_sleep();
  local_irq_restore(flags);
  ASSERT_TRUE(reports.took(report_kind::sleep_in_atomic,
                           "in_atomic(): 0, irqs_disabled(): 1, non_block: 0, pid: "));
  EXPECT_TRUE(says("\nInterrupts disabled at: " + place(line) + '\n'));
  EXPECT_FALSE(says("Preemption disabled at"));
}

TEST_F(might_sleep_test, sees_spinlocks_of_every_mode) {
  spinlock lock;
  {
    const int line = __LINE__ + 1;
    const guard g{no_mask, lock};
    might_sleep();
    ASSERT_TRUE(reports.took(report_kind::sleep_in_atomic, "preempt_count: 1, expected: 0\n"));
    EXPECT_TRUE(says("\nPreemption disabled at: " + place(line) + '\n'));
  }
  {
    const int line = __LINE__ + 1;
    const guard g{mask_bh, lock};
    might_sleep();
    ASSERT_TRUE(reports.took(report_kind::sleep_in_atomic, "preempt_count: 201, expected: 0\n"));
    EXPECT_TRUE(says("\nPreemption disabled at: " + place(line) + '\n'));
  }
  {
    const int line = __LINE__ + 1;
    const guard g{irqsave, lock};
    might_sleep();
    ASSERT_TRUE(reports.took(report_kind::sleep_in_atomic, "in_atomic(): 1, irqs_disabled(): 1"));
    EXPECT_TRUE(says("\nInterrupts disabled at: " + place(line) + '\n'));
  }
}

TEST_F(might_sleep_test, sees_rcu_readers) {
  platform::this_task().rcu.store_relaxed((7u << 16) | 2);
  might_sleep();
  platform::this_task().rcu.store_relaxed(0);
  ASSERT_TRUE(reports.took(report_kind::sleep_in_atomic,
                           "in_atomic(): 0, irqs_disabled(): 0, non_block: 0, pid: "));
  EXPECT_TRUE(says("\npreempt_count: 0, expected: 0\nRCU nest depth: 2, expected: 0\n"));
}

TEST_F(might_sleep_test, is_reported_each_time_to_a_handler) {
  const guard g{no_preempt};
  might_sleep();
  might_sleep();
  EXPECT_TRUE(reports.took(report_kind::sleep_in_atomic, "BUG: sleeping"));
  EXPECT_TRUE(reports.took(report_kind::sleep_in_atomic, "BUG: sleeping"));
}

}  // namespace
}  // namespace interlock
