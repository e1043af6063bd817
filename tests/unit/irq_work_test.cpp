// SPDX-License-Identifier: Apache-2.0

/// irq_work: prompt on this CPU, on another one, merged, and waited for.

#include "interlock/irq_work.hpp"

#include <memory>

#include "interlock/smp.hpp"
#include "irq_test_support.hpp"
#include "support/rounds.hpp"

namespace {

using namespace interlock;
using interlock::test::counter;
using interlock::test::eventually;
using interlock::test::spinning_cpu;
using interlock::test::start;

class irq_work_unit : public interlock::test::report_test {};

struct counted_work {
  irq_work work{run};
  counter runs{0};
  cpu_id seen = cpu_id::none;
  bool in_handler = false;

  static void run(irq_work& w) {
    counted_work& self = *INTERLOCK_CONTAINER_OF(&w, counted_work, work);
    self.seen = smp_processor_id();
    self.in_handler = in_hardirq() && irqs_disabled();
    self.runs.fetch_add_release(1);
  }
};

TEST_F(irq_work_unit, runs_at_once_in_a_task) {
  counted_work w;
  EXPECT_TRUE(irq_work_queue(w.work));
  EXPECT_EQ(w.runs.load_acquire(), 1u);
  EXPECT_TRUE(w.in_handler);
  EXPECT_TRUE(irq_work_queue(w.work));
  EXPECT_EQ(w.runs.load_acquire(), 2u);
}

TEST_F(irq_work_unit, waits_for_interrupts_and_merges) {
  counted_work w;
  local_irq_disable();
  EXPECT_TRUE(irq_work_queue(w.work));
  EXPECT_FALSE(irq_work_queue(w.work));
  EXPECT_EQ(w.runs.load_acquire(), 0u);
  local_irq_enable();
  EXPECT_EQ(w.runs.load_acquire(), 1u);
}

TEST_F(irq_work_unit, needs_no_online_cpu) {
  counted_work w;
  kthread thread = start("unknown", [&] {
    EXPECT_FALSE(cpu_is_online(smp_processor_id()));
    irq_work_queue(w.work);
    EXPECT_EQ(w.runs.load_acquire(), 1u);
    local_irq_disable();
    irq_work_queue(w.work);  // the thread ends before it can run
  });
  thread.join();
  irq_work_sync(w.work);
  EXPECT_EQ(w.runs.load_acquire(), 2u);
  EXPECT_EQ(w.seen, *service_cpu());
}

TEST_F(irq_work_unit, queues_itself_again) {
  static counter runs{0};
  runs.store_relaxed(0);
  irq_work w{[](irq_work& self) {
    if (runs.fetch_add_relaxed(1) == 4) return;
    EXPECT_TRUE(irq_work_queue(self));
  }};
  irq_work_queue(w);
  EXPECT_EQ(runs.load_relaxed(), 5u);
}

TEST_F(irq_work_unit, runs_on_another_cpu) {
  spinning_cpu cpu;
  counted_work w;
  for (std::uint32_t i = 1; i <= interlock::test::rounds(100); ++i) {
    EXPECT_TRUE(irq_work_queue_on(w.work, cpu.id()));
    irq_work_sync(w.work);
    ASSERT_EQ(w.runs.load_acquire(), i);
  }
  EXPECT_EQ(w.seen, cpu.id());
}

TEST_F(irq_work_unit, for_a_cpu_that_is_gone_runs_on_the_service_cpu) {
  cpu_id gone;
  {
    spinning_cpu cpu;
    gone = cpu.id();
  }
  counted_work w;
  EXPECT_TRUE(irq_work_queue_on(w.work, gone));
  irq_work_sync(w.work);
  EXPECT_EQ(w.seen, *service_cpu());
}

TEST_F(irq_work_unit, sync_waits_for_the_function) {
  spinning_cpu cpu;
  static counter entered{0};
  static counter leave{0};
  static counter left{0};
  for (counter* c : {&entered, &leave, &left}) c->store_relaxed(0);
  irq_work w{[](irq_work&) {
    entered.store_release(1);
    while (leave.load_acquire() == 0) platform::cpu_relax();
    left.store_release(1);
  }};
  irq_work_queue_on(w, cpu.id());
  ASSERT_TRUE(eventually([&] { return entered.load_acquire() == 1; }));
  kthread other = start("sync", [&] {
    irq_work_sync(w);
    EXPECT_EQ(left.load_acquire(), 1u);
  });
  ASSERT_TRUE(eventually([&] { return (w.flags.load_relaxed() & 4) != 0; }));  // it waits
  leave.store_release(1);
  other.join();
}

TEST_F(irq_work_unit, a_storm_from_two_sides_loses_no_run) {
  spinning_cpu cpu;
  counted_work w;
  // A queue call that returned false is served by a run that begins after it.
  counter wanted{0};
  const auto storm = [&] {
    for (int i = 0; i < interlock::test::rounds(20'000); ++i) {
      wanted.fetch_add_relaxed(1);
      (void)irq_work_queue_on(w.work, cpu.id());
    }
  };
  kthread a = start("a", storm);
  storm();
  a.join();
  irq_work_sync(w.work);
  EXPECT_GE(w.runs.load_acquire(), 1u);
  EXPECT_LE(w.runs.load_acquire(), wanted.load_relaxed());
  const std::uint32_t before = w.runs.load_acquire();
  EXPECT_TRUE(irq_work_queue_on(w.work, cpu.id()));
  irq_work_sync(w.work);
  EXPECT_EQ(w.runs.load_acquire(), before + 1);
}

TEST_F(irq_work_unit, from_an_nmi_it_runs_when_interrupts_allow) {
  ASSERT_TRUE(online_cpu().has_value());
  struct shared {
    counted_work w;
    std::uint32_t seen_in_nmi = 9;
  } s;
  const auto nmi = [](void* cookie) {
    auto& self = *static_cast<shared*>(cookie);
    EXPECT_TRUE(in_nmi());
    EXPECT_TRUE(irq_work_queue(self.w.work));
    self.seen_in_nmi = self.w.runs.load_acquire();
  };
  ASSERT_TRUE(nmi_call_function_single(smp_processor_id(), nmi, &s));
  EXPECT_EQ(s.seen_in_nmi, 0u);
  EXPECT_EQ(s.w.runs.load_acquire(), 1u);
  local_irq_disable();
  ASSERT_TRUE(nmi_call_function_single(smp_processor_id(), nmi, &s));
  EXPECT_EQ(s.w.runs.load_acquire(), 1u);
  local_irq_enable();
  EXPECT_EQ(s.w.runs.load_acquire(), 2u);
}

}  // namespace
