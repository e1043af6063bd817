// SPDX-License-Identifier: Apache-2.0

/// The predicates of preempt.hpp in every context, against the kernel's definitions; and what is
/// reported when contexts are left more often than entered.

#include <gtest/gtest.h>

#include "interlock/bottom_half.hpp"
#include "interlock/guard.hpp"
#include "interlock/might_sleep.hpp"
#include "support/report_recorder.hpp"

namespace interlock {
namespace {

// The kernel's layout, in its numbers: what is printed as preempt_count must read the same.
static_assert(preempt_offset == 0x1 && preempt_mask == 0xff);
static_assert(softirq_offset == 0x100 && softirq_mask == 0xff00);
static_assert(softirq_disable_offset == 0x200);
static_assert(hardirq_offset == 0x10000 && hardirq_mask == 0xf0000);
static_assert(nmi_offset == 0x100000 && nmi_mask == 0xf00000);

/// A context, made by writing the words that the irq layer writes.
struct context {
  const char* name;
  std::uint32_t preempt_depth;
  std::uint32_t interrupt_count;
  bool irqs_off;
  std::uint64_t rcu_nesting;
  // What the kernel answers there:
  bool atomic, hardirq, softirq, serving_softirq, interrupt, nmi, task, preemptible, sleep;
};

constexpr std::uint32_t bh_off = softirq_disable_offset;
constexpr std::uint32_t serving = softirq_offset;
constexpr std::uint32_t hard = hardirq_offset;
// An NMI counts as a hard interrupt too, as in the kernel's nmi_enter().
constexpr std::uint32_t nmi = nmi_offset + hardirq_offset;

//   preempt, interrupts, irqs off, rcu |      atomic  hard   soft  serving  irq   nmi   task
//   preemptible sleep
constexpr context contexts[] = {
    {"task", 0, 0, false, 0, false, false, false, false, false, false, true, true, true},
    {"preempt off", 1, 0, false, 0, true, false, false, false, false, false, true, false, false},
    {"preempt off, nested", 255, 0, false, 0, true, false, false, false, false, false, true, false,
     false},
    {"irqs off", 0, 0, true, 0, false, false, false, false, false, false, true, false, false},
    {"rcu reader", 0, 0, false, 1, false, false, false, false, false, false, true, true, false},
    {"bh off", 0, bh_off, false, 0, true, false, true, false, true, false, true, false, false},
    {"bh off, nested", 0, 3 * bh_off, false, 0, true, false, true, false, true, false, true, false,
     false},
    {"softirq", 0, serving, false, 0, true, false, true, true, true, false, false, false, false},
    {"softirq, bh off", 0, serving + bh_off, false, 0, true, false, true, true, true, false, false,
     false, false},
    {"hardirq", 0, hard, true, 0, true, true, false, false, true, false, false, false, false},
    {"hardirq, irqs on", 0, hard, false, 0, true, true, false, false, true, false, false, false,
     false},
    {"hardirq in softirq", 0, hard + serving, true, 0, true, true, true, true, true, false, false,
     false, false},
    {"hardirq in bh off", 0, hard + bh_off, true, 0, true, true, true, false, true, false, false,
     false, false},
    {"nested hardirq", 0, 2 * hard, true, 0, true, true, false, false, true, false, false, false,
     false},
    {"nmi", 0, nmi, true, 0, true, true, false, false, true, true, false, false, false},
    {"nmi in hardirq", 1, nmi + hard, true, 0, true, true, false, false, true, true, false, false,
     false},
};

class truth_table : public ::testing::TestWithParam<context> {
 protected:
  void SetUp() override {
    platform::this_task().preempt_depth.store_relaxed(GetParam().preempt_depth);
    platform::this_task().rcu.store_relaxed(GetParam().rcu_nesting);
    platform::this_cpu().interrupt_count.store_relaxed(GetParam().interrupt_count);
    platform::this_cpu().irqs_off.store_relaxed(GetParam().irqs_off ? 1 : 0);
  }
  void TearDown() override {
    platform::this_task().preempt_depth.store_relaxed(0);
    platform::this_task().rcu.store_relaxed(0);
    platform::this_cpu().interrupt_count.store_relaxed(0);
    platform::this_cpu().irqs_off.store_relaxed(0);
  }
};

TEST_P(truth_table, predicates) {
  const context& c = GetParam();
  EXPECT_EQ(preempt_count(), c.preempt_depth | c.interrupt_count);
  EXPECT_EQ(in_atomic(), c.atomic);
  EXPECT_EQ(in_hardirq(), c.hardirq);
  EXPECT_EQ(in_softirq(), c.softirq);
  EXPECT_EQ(in_serving_softirq(), c.serving_softirq);
  EXPECT_EQ(in_interrupt(), c.interrupt);
  EXPECT_EQ(in_nmi(), c.nmi);
  EXPECT_EQ(in_task(), c.task);
  EXPECT_EQ(irqs_disabled(), c.irqs_off);
  EXPECT_EQ(preemptible(), c.preemptible);
  EXPECT_EQ(sleep_allowed(), c.sleep);
}

INSTANTIATE_TEST_SUITE_P(contexts, truth_table, ::testing::ValuesIn(contexts),
                         [](const ::testing::TestParamInfo<context>& tested) {
                           std::string name{tested.param.name};
                           for (char& c : name) c = c == ' ' || c == ',' ? '_' : c;
                           return name;
                         });

class context_test : public test::report_test {};

TEST_F(context_test, preempt_nests_and_remembers_the_outermost_place) {
  const int line = __LINE__ + 1;
  preempt_disable();
  preempt_disable();
  EXPECT_EQ(preempt_count(), 2 * preempt_offset);
  EXPECT_EQ(platform::this_task().atomic_at.line, line);
  preempt_enable();
  EXPECT_TRUE(in_atomic());
  preempt_enable();
  EXPECT_FALSE(in_atomic());
}

TEST_F(context_test, preempt_underflow_is_reported_and_changes_nothing) {
  preempt_enable();
  EXPECT_TRUE(reports.took(report_kind::context_imbalance,
                           "DEBUG_LOCKS_WARN_ON(val > preempt_count())\nWARNING: CPU: "));
  EXPECT_NE(std::string{reports.text()}.find(" at preempt_enable\n"), std::string::npos);
  EXPECT_EQ(preempt_count(), 0u);
}

TEST_F(context_test, preempt_overflow_is_reported_and_changes_nothing) {
  for (int i = 0; i < 255; ++i) preempt_disable();
  EXPECT_EQ(reports.pending(), 0u);
  preempt_disable();
  EXPECT_TRUE(reports.took(report_kind::context_imbalance,
                           "DEBUG_LOCKS_WARN_ON((preempt_count() & PREEMPT_MASK)"));
  EXPECT_EQ(preempt_count(), 255u);
  for (int i = 0; i < 255; ++i) preempt_enable();
  EXPECT_EQ(preempt_count(), 0u);
}

TEST_F(context_test, bh_disable_adds_two_units) {
  local_bh_disable();
  EXPECT_EQ(softirq_count(), softirq_disable_offset);
  EXPECT_TRUE(in_softirq());
  EXPECT_FALSE(in_serving_softirq());
  local_bh_disable();
  EXPECT_EQ(softirq_count(), 2 * softirq_disable_offset);
  local_bh_enable();
  local_bh_enable();
  EXPECT_EQ(preempt_count(), 0u);
}

TEST_F(context_test, bh_underflow_and_overflow_are_reported) {
  local_bh_enable();
  EXPECT_TRUE(reports.took(report_kind::context_imbalance, "local_bh_enable"));
  for (int i = 0; i < 127; ++i) local_bh_disable();
  EXPECT_EQ(reports.pending(), 0u);
  local_bh_disable();
  EXPECT_TRUE(reports.took(report_kind::context_imbalance, "local_bh_disable"));
  EXPECT_EQ(hardirq_count(), 0u) << "the count does not spill into its neighbour";
  for (int i = 0; i < 127; ++i) local_bh_enable();
  EXPECT_EQ(preempt_count(), 0u);
}

TEST_F(context_test, bh_enable_with_irqs_off_is_reported) {
  local_bh_disable();
  const irq_flags flags = local_irq_save();
  local_bh_enable();
  local_irq_restore(flags);
  EXPECT_TRUE(
      reports.took(report_kind::context_imbalance, "DEBUG_LOCKS_WARN_ON(in_hardirq() || irqs_"));
  EXPECT_EQ(preempt_count(), 0u);
}

TEST_F(context_test, irq_save_nests_by_its_flags) {
  const irq_flags outer = local_irq_save();
  EXPECT_EQ(outer, irq_flags::enabled);
  const irq_flags inner = local_irq_save();
  EXPECT_EQ(inner, irq_flags::disabled);
  local_irq_restore(inner);
  EXPECT_TRUE(irqs_disabled());
  local_irq_restore(outer);
  EXPECT_FALSE(irqs_disabled());
}

TEST_F(context_test, guards_leave_what_they_enter) {
  {
    const guard g{no_preempt};
    EXPECT_EQ(preempt_count(), preempt_offset);
  }
  {
    const guard g{mask_bh};
    EXPECT_EQ(preempt_count(), softirq_disable_offset);
  }
  {
    const guard g{irqsave};
    EXPECT_TRUE(irqs_disabled());
    EXPECT_EQ(preempt_count(), 0u);
  }
  EXPECT_TRUE(preemptible());
}

}  // namespace
}  // namespace interlock
