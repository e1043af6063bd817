// SPDX-License-Identifier: Apache-2.0

/// Softirqs: where they run, what holds them off, how they nest, and when they are deferred.

#include "interlock/softirq.hpp"

#include "interlock/hrtimer.hpp"
#include "irq_test_support.hpp"

namespace {

using namespace interlock;
using interlock::test::counter;
using interlock::test::eventually;
using interlock::test::make_line_on;
using interlock::test::request;
using interlock::test::spinning_cpu;
using interlock::test::start;

/// Vectors last as long as the process: one, whose action each test sets.
class softirq_unit : public interlock::test::report_test {
 protected:
  static softirq vector() {
    static const softirq opened = open_softirq("test", run, nullptr).value();
    return opened;
  }
  template <class F>
  void set(F& function) {
    cookie = &function;
    call = [](void* f) { (*static_cast<F*>(f))(); };
    (void)vector();
  }
  void TearDown() override {
    call = nullptr;
    report_test::TearDown();
  }

 private:
  static void run(void*) {
    if (call != nullptr) call(cookie);
  }
  static inline void (*call)(void* cookie) = nullptr;
  static inline void* cookie = nullptr;
};

TEST_F(softirq_unit, runs_at_once_in_a_task) {
  int runs = 0;
  auto action = [&] {
    EXPECT_TRUE(in_serving_softirq());
    EXPECT_FALSE(in_hardirq());
    EXPECT_FALSE(irqs_disabled());
    ++runs;
  };
  set(action);
  raise_softirq(vector());
  EXPECT_EQ(runs, 1);
  EXPECT_EQ(preempt_count(), 0u);
}

TEST_F(softirq_unit, bottom_halves_disabled_hold_it_off) {
  int runs = 0;
  auto action = [&] { ++runs; };
  set(action);
  local_bh_disable();
  local_bh_disable();
  raise_softirq(vector());
  local_bh_enable();
  EXPECT_EQ(runs, 0);
  local_bh_enable();
  EXPECT_EQ(runs, 1);
}

TEST_F(softirq_unit, interrupts_disabled_hold_it_off) {
  int runs = 0;
  auto action = [&] { ++runs; };
  set(action);
  const irq_flags flags = local_irq_save();
  raise_softirq(vector());
  EXPECT_EQ(runs, 0);
  local_irq_restore(flags);
  EXPECT_EQ(runs, 1);
}

TEST_F(softirq_unit, both_hold_it_off_in_either_order) {
  int runs = 0;
  auto action = [&] { ++runs; };
  set(action);
  local_irq_disable();
  raise_softirq(vector());
  local_bh_disable();
  local_irq_enable();
  EXPECT_EQ(runs, 0);
  local_bh_enable();
  EXPECT_EQ(runs, 1);
  local_bh_disable();
  local_irq_disable();
  raise_softirq(vector());
  local_irq_enable();
  EXPECT_EQ(runs, 1);
  local_bh_enable();
  EXPECT_EQ(runs, 2);
}

TEST_F(softirq_unit, enabling_bottom_halves_with_interrupts_off_loses_nothing) {
  int runs = 0;
  auto action = [&] { ++runs; };
  set(action);
  local_irq_disable();
  local_bh_disable();
  raise_softirq(vector());
  local_bh_enable();
  EXPECT_TRUE(reports.took(report_kind::context_imbalance, "local_bh_enable"));
  EXPECT_EQ(runs, 0);
  local_irq_enable();
  EXPECT_EQ(runs, 1);
}

TEST_F(softirq_unit, runs_at_the_end_of_the_interrupt) {
  int runs = 0;
  auto action = [&] {
    EXPECT_FALSE(in_hardirq());
    ++runs;
  };
  set(action);
  const auto line = make_line_on();
  const irq_action handler = request(*line, [&] {
    const int before = runs;
    raise_softirq(vector());
    EXPECT_EQ(runs, before);
    return irqreturn::handled;
  });
  raise_irq(*line);
  EXPECT_EQ(runs, 1);
  local_bh_disable();
  raise_irq(*line);
  EXPECT_EQ(runs, 1);
  local_bh_enable();
  EXPECT_EQ(runs, 2);
}

TEST_F(softirq_unit, hard_interrupts_nest_on_it) {
  const auto line = make_line_on();
  char order[8] = {};
  std::size_t count = 0;
  const irq_action handler = request(*line, [&] {
    EXPECT_TRUE(in_serving_softirq());
    EXPECT_TRUE(in_hardirq());
    order[count++] = 'h';
    return irqreturn::handled;
  });
  auto action = [&] {
    order[count++] = '(';
    raise_irq(*line);
    order[count++] = ')';
  };
  set(action);
  raise_softirq(vector());
  EXPECT_STREQ(order, "(h)");
}

TEST_F(softirq_unit, runs_on_the_cpu_that_raised_it) {
  spinning_cpu cpu;
  const auto line = make_line_on(cpu.id());
  completion done;
  cpu_id seen = cpu_id::none;
  auto action = [&] {
    seen = smp_processor_id();
    done.complete();
  };
  set(action);
  const irq_action handler = request(*line, [&] {
    raise_softirq(vector());
    return irqreturn::handled;
  });
  raise_irq(*line);
  done.wait();
  EXPECT_EQ(seen, cpu.id());
}

TEST_F(softirq_unit, raised_by_itself_it_runs_again_and_does_not_nest) {
  int runs = 0;
  bool inside = false;
  auto action = [&] {
    EXPECT_FALSE(inside);
    inside = true;
    if (++runs < 5) raise_softirq(vector());
    inside = false;
  };
  set(action);
  raise_softirq(vector());
  EXPECT_EQ(runs, 5);
}

TEST_F(softirq_unit, an_endless_load_is_deferred_and_the_task_goes_on) {
  spinning_cpu cpu;
  const auto line = make_line_on(cpu.id());
  counter runs{0};
  counter stop{0};
  auto action = [&] {
    runs.fetch_add_relaxed(1);
    if (stop.load_relaxed() == 0) raise_softirq(vector());
  };
  set(action);
  const irq_action handler = request(*line, [&] {
    raise_softirq(vector());
    return irqreturn::handled;
  });
  const std::uint64_t deferred = softirq_get_statistics().deferred;
  raise_irq(*line);
  // Ten rounds each time: it goes on only because the CPU is interrupted again and again.
  ASSERT_TRUE(eventually([&] { return runs.load_relaxed() >= 100; }));
  EXPECT_GE(softirq_get_statistics().deferred - deferred, 9u);
  stop.store_relaxed(1);
  cpu.end();  // it does end: the load does not starve the task
}

TEST_F(softirq_unit, a_task_that_raises_an_endless_load_goes_on_too) {
  ASSERT_TRUE(online_cpu().has_value());
  counter runs{0};
  auto action = [&] {
    if (runs.fetch_add_release(1) < 100) raise_softirq(vector());
  };
  set(action);
  raise_softirq(vector());
  EXPECT_GE(runs.load_relaxed(), 10u);  // the first may have come already
  // Interrupts of this thread complete it, without any help of the thread.
  while (runs.load_acquire() < 101) platform::cpu_relax();
}

TEST_F(softirq_unit, a_deferred_load_is_held_off_by_disabled_bottom_halves) {
  ASSERT_TRUE(online_cpu().has_value());
  counter runs{0};
  auto action = [&] {
    if (runs.fetch_add_release(1) < 50) raise_softirq(vector());
  };
  set(action);
  raise_softirq(vector());
  local_bh_disable();
  const std::uint32_t before = runs.load_relaxed();
  const deadline until = deadline_after(std::chrono::milliseconds{5});
  while (monotonic_clock::now() < until) EXPECT_EQ(runs.load_relaxed(), before);
  local_bh_enable();
  if (before < 51) {
    EXPECT_GT(runs.load_relaxed(), before);
  }
  while (runs.load_acquire() < 51) platform::cpu_relax();
}

TEST_F(softirq_unit, what_is_pending_at_the_end_of_a_thread_is_served_by_it) {
  counter runs{0};
  auto action = [&] { runs.fetch_add_relaxed(1); };
  set(action);
  kthread thread = start("short", [&] {
    local_irq_disable();
    raise_softirq(vector());
  });
  thread.join();
  EXPECT_EQ(runs.load_relaxed(), 1u);
}

TEST_F(softirq_unit, an_unbalanced_action_is_reported) {
  auto action = [] { preempt_disable(); };
  set(action);
  raise_softirq(vector());
  EXPECT_TRUE(reports.took(report_kind::context_imbalance, "huh, entered softirq"));
  EXPECT_EQ(preempt_count(), 0u);
}

TEST_F(softirq_unit, vectors_are_few) {
  result<softirq> last = open_softirq(
      "filler", [](void*) {}, nullptr);
  for (int i = 0; i < 32 && last; ++i)
    last = open_softirq(
        "filler", [](void*) {}, nullptr);
  ASSERT_FALSE(last.has_value());
  EXPECT_EQ(last.error(), error::no_space_on_device);
}

}  // namespace
