// SPDX-License-Identifier: Apache-2.0

/// Calls to other CPUs, and CPUs that come, go, or cannot be interrupted.

#include "interlock/smp.hpp"

#include <thread>

#include "interlock/irq_work.hpp"
#include "interlock_platform/doorbell.hpp"
#include "irq_test_support.hpp"
#include "support/rounds.hpp"

namespace {

using namespace interlock;
using interlock::test::counter;
using interlock::test::eventually;
using interlock::test::make_line_on;
using interlock::test::request;
using interlock::test::spinning_cpu;
using interlock::test::start;

class smp : public interlock::test::report_test {};

struct seen {
  counter calls{0};
  cpu_id cpu = cpu_id::none;
  bool nmi = false;
  bool hardirq = false;
  bool off = false;

  static void note(void* cookie) {
    seen& self = *static_cast<seen*>(cookie);
    self.cpu = smp_processor_id();
    self.nmi = in_nmi();
    self.hardirq = in_hardirq();
    self.off = irqs_disabled();
    self.calls.fetch_add_relaxed(1);
  }
};

/// A CPU that holds interrupts off until told otherwise.
class masked_cpu {
 public:
  explicit masked_cpu(bool block_signal = false) {
    thread_ = start("masked", [this, block_signal] {
      id_ = online_cpu().value_or(cpu_id::none);
      if (block_signal) platform::hold_doorbells();
      local_irq_disable();
      up_.store_release(1);
      while (stop_.load_acquire() == 0) platform::cpu_relax();
      local_irq_enable();
      if (block_signal) platform::release_doorbells();
    });
    EXPECT_TRUE(eventually([&] { return up_.load_acquire() == 1; }));
  }
  ~masked_cpu() {
    stop_.store_release(1);
    thread_.join();
  }
  [[nodiscard]] cpu_id id() const { return id_; }

 private:
  counter up_{0};
  counter stop_{0};
  cpu_id id_ = cpu_id::none;
  kthread thread_;
};

TEST_F(smp, a_call_runs_on_its_cpu) {
  spinning_cpu cpu;
  seen s;
  for (std::uint32_t i = 1; i <= interlock::test::rounds(100); ++i) {
    ASSERT_TRUE(smp_call_function_single(cpu.id(), seen::note, &s));
    ASSERT_EQ(s.calls.load_relaxed(), i);
  }
  EXPECT_EQ(s.cpu, cpu.id());
  EXPECT_TRUE(s.hardirq);
  EXPECT_TRUE(s.off);
  EXPECT_FALSE(s.nmi);
}

TEST_F(smp, a_call_to_oneself_is_an_interrupt) {
  ASSERT_TRUE(online_cpu());
  seen s;
  ASSERT_TRUE(smp_call_function_single(smp_processor_id(), seen::note, &s));
  EXPECT_EQ(s.calls.load_relaxed(), 1u);
  EXPECT_TRUE(s.hardirq);
}

/// Reported, as any call that may sleep; but it runs before the return, and nothing is left behind.
TEST_F(smp, a_call_to_oneself_with_interrupts_off_runs_at_once) {
  ASSERT_TRUE(online_cpu());
  seen s;
  {
    const irq_flags flags = local_irq_save();
    EXPECT_TRUE(smp_call_function_single(smp_processor_id(), seen::note, &s));
    EXPECT_EQ(s.calls.load_relaxed(), 1u);
    EXPECT_TRUE(s.hardirq);
    EXPECT_TRUE(s.off);
    EXPECT_TRUE(irqs_disabled());
    local_irq_restore(flags);
  }
  EXPECT_EQ(s.calls.load_relaxed(), 1u);
  EXPECT_EQ(preempt_count(), 0u);
  while (reports.pending() != 0) EXPECT_TRUE(reports.took(report_kind::sleep_in_atomic, ""));
}

TEST_F(smp, a_call_to_oneself_in_a_handler_runs_at_once) {
  seen s;
  const auto line = make_line_on();
  const irq_action action = request(*line, [&] {
    EXPECT_TRUE(smp_call_function_single(smp_processor_id(), seen::note, &s));
    EXPECT_EQ(s.calls.load_relaxed(), 1u);
    return irqreturn::handled;
  });
  raise_irq(*line);
  EXPECT_EQ(s.calls.load_relaxed(), 1u);
  EXPECT_TRUE(s.hardirq);
  while (reports.pending() != 0) EXPECT_TRUE(reports.took(report_kind::sleep_in_atomic, ""));
}

TEST_F(smp, a_call_to_the_service_cpu) {
  seen s;
  const result<cpu_id> service = service_cpu();
  ASSERT_TRUE(service);
  ASSERT_TRUE(smp_call_function_single(*service, seen::note, &s));
  EXPECT_EQ(s.cpu, *service);
  ASSERT_TRUE(nmi_call_function_single(*service, seen::note, &s));
  EXPECT_TRUE(s.nmi);
  EXPECT_EQ(s.cpu, *service);
}

TEST_F(smp, two_cpus_call_each_other_at_once) {
  constexpr int rounds = interlock::test::rounds(300);
  struct side {
    cpu_id id = cpu_id::none;
    completion up;
    seen s;
  } sides[2];
  const auto run = [&](int own) {
    sides[own].id = *online_cpu();
    sides[own].up.complete_all();
    sides[1 - own].up.wait();
    for (int i = 0; i < rounds; ++i) {
      EXPECT_TRUE(smp_call_function_single(sides[1 - own].id, seen::note, &sides[1 - own].s));
    }
    // Stays for the other's last calls.
    while (sides[own].s.calls.load_relaxed() < rounds) platform::cpu_relax();
  };
  kthread other = start("other", [&] { run(1); });
  run(0);
  other.join();
  EXPECT_EQ(sides[0].s.calls.load_relaxed(), static_cast<std::uint32_t>(rounds));
  EXPECT_EQ(sides[1].s.calls.load_relaxed(), static_cast<std::uint32_t>(rounds));
}

TEST_F(smp, every_cpu_is_called) {
  ASSERT_TRUE(online_cpu());
  spinning_cpu a;
  spinning_cpu b;
  spinning_cpu c;
  counter calls{0};
  ASSERT_TRUE(on_each_cpu([](void* cookie) { static_cast<counter*>(cookie)->fetch_add_relaxed(1); },
                          &calls));
  EXPECT_EQ(calls.load_relaxed(), 5u);  // these, this one, and the service CPU
}

TEST_F(smp, a_call_to_a_cpu_that_is_gone_is_an_error) {
  cpu_id gone;
  {
    spinning_cpu cpu;
    gone = cpu.id();
  }
  seen s;
  const result<void> call = smp_call_function_single(gone, seen::note, &s);
  ASSERT_FALSE(call);
  EXPECT_EQ(call.error(), error::no_such_process);
  const result<void> nmi = nmi_call_function_single(gone, seen::note, &s);
  ASSERT_FALSE(nmi);
  EXPECT_EQ(nmi.error(), error::no_such_process);
  EXPECT_EQ(s.calls.load_relaxed(), 0u);
}

TEST_F(smp, a_cpu_that_ends_before_it_answers_is_an_error) {
  seen s;
  counter up{0};
  counter stop{0};
  cpu_id short_id = cpu_id::none;
  kthread brief = start("brief", [&] {
    short_id = *online_cpu();
    local_irq_disable();
    up.store_release(1);
    while (stop.load_acquire() == 0 || platform::this_cpu().pending.load_relaxed() == 0) {
      platform::cpu_relax();
    }
  });
  ASSERT_TRUE(eventually([&] { return up.load_acquire() == 1; }));
  stop.store_release(1);
  const std::uint32_t before = s.calls.load_relaxed();
  const result<void> lost = smp_call_function_single(short_id, seen::note, &s);
  brief.join();
  ASSERT_FALSE(lost.has_value());
  EXPECT_EQ(lost.error(), error::no_such_process);
  EXPECT_EQ(s.calls.load_relaxed(), before);
}

TEST_F(smp, a_cpu_that_blocks_the_doorbell_is_an_error_and_no_hang) {
  masked_cpu cpu{true};
  seen s;
  const result<void> call = smp_call_function_single(cpu.id(), seen::note, &s);
  ASSERT_FALSE(call);
  EXPECT_EQ(call.error(), error::operation_not_permitted);
  const result<void> nmi = nmi_call_function_single(cpu.id(), seen::note, &s);
  ASSERT_FALSE(nmi);
  EXPECT_EQ(nmi.error(), error::operation_not_permitted);
  const result<ref_ptr<irq_line>> line =
      make_irq_line({.kind = irq_kind::asynchronous, .target = cpu.id()});
  ASSERT_FALSE(line);
  EXPECT_EQ(line.error(), error::operation_not_permitted);
  // The withdrawn requests are still queued there: they must do nothing, and free themselves.
}

TEST_F(smp, a_thread_that_blocks_the_doorbell_does_not_come_online) {
  ASSERT_TRUE(online_cpu());  // the doorbell is installed
  kthread thread = start("blocks", [&] {
    platform::hold_doorbells();
    const result<cpu_id> self = online_cpu();
    EXPECT_FALSE(self.has_value());
    EXPECT_EQ(self ? error{} : self.error(), error::operation_not_permitted);
    platform::release_doorbells();
    EXPECT_TRUE(online_cpu().has_value());
  });
  thread.join();
}

TEST_F(smp, an_nmi_reaches_a_cpu_with_interrupts_off) {
  masked_cpu cpu;
  seen s;
  for (std::uint32_t i = 1; i <= interlock::test::rounds(100); ++i) {
    ASSERT_TRUE(nmi_call_function_single(cpu.id(), seen::note, &s));
    ASSERT_EQ(s.calls.load_relaxed(), i);
  }
  EXPECT_TRUE(s.nmi);
  EXPECT_TRUE(s.hardirq);
  EXPECT_EQ(s.cpu, cpu.id());
}

TEST_F(smp, an_interrupt_during_an_nmi_is_served_after_it) {
  spinning_cpu cpu;
  const auto line = make_line_on(cpu.id());
  struct state {
    irq_line* line;
    counter runs{0};
    std::uint32_t runs_in_nmi = 9;
  } s{line.get(), {}, 9};
  const irq_action action = interlock::test::request(*line, [&] {
    EXPECT_FALSE(in_nmi());
    s.runs.fetch_add_release(1);
    return irqreturn::handled;
  });
  ASSERT_TRUE(nmi_call_function_single(
      cpu.id(),
      [](void* cookie) {
        auto& self = *static_cast<state*>(cookie);
        raise_irq(*self.line);
        self.runs_in_nmi = self.runs.load_acquire();
      },
      &s));
  EXPECT_EQ(s.runs_in_nmi, 0u);
  EXPECT_TRUE(eventually([&] { return s.runs.load_acquire() == 1; }));
}

TEST_F(smp, with_interrupts_off_a_call_is_reported) {
  spinning_cpu cpu;
  seen s;
  local_irq_disable();
  (void)smp_call_function_single(cpu.id(), seen::note, &s);
  local_irq_enable();
  EXPECT_TRUE(reports.took(report_kind::sleep_in_atomic, "sleeping function called"));
}

TEST_F(smp, a_sleeping_cpu_answers) {
  completion up;
  completion end;
  cpu_id id = cpu_id::none;
  kthread sleeper = start("sleeper", [&] {
    id = *online_cpu();
    up.complete();
    end.wait();
  });
  up.wait();
  seen s;
  for (int i = 0; i < interlock::test::rounds(50); ++i)
    ASSERT_TRUE(smp_call_function_single(id, seen::note, &s));
  EXPECT_EQ(s.cpu, id);
  end.complete();
  sleeper.join();
}

TEST_F(smp, threads_that_the_library_did_not_start) {
  counter up{0};
  counter stop{0};
  cpu_id id = cpu_id::none;
  std::thread foreign{[&] {
    id = *online_cpu();
    up.store_release(1);
    while (stop.load_acquire() == 0) platform::cpu_relax();
  }};
  ASSERT_TRUE(eventually([&] { return up.load_acquire() == 1; }));
  seen s;
  ASSERT_TRUE(smp_call_function_single(id, seen::note, &s));
  EXPECT_EQ(s.cpu, id);
  stop.store_release(1);
  foreign.join();
  EXPECT_FALSE(cpu_is_online(id));
}

TEST_F(smp, cpus_come_and_go_while_all_are_called) {
  ASSERT_TRUE(online_cpu());
  counter stop{0};
  kthread churn = start("churn", [&] {
    while (stop.load_relaxed() == 0) {
      kthread brief = start("brief", [] { EXPECT_TRUE(online_cpu()); });
      brief.join();
    }
  });
  constexpr int rounds = interlock::test::rounds(300);
  counter calls{0};
  for (int i = 0; i < rounds; ++i) {
    ASSERT_TRUE(on_each_cpu(
        [](void* cookie) { static_cast<counter*>(cookie)->fetch_add_relaxed(1); }, &calls));
  }
  EXPECT_GE(calls.load_relaxed(), 2u * rounds);
  stop.store_relaxed(1);
  churn.join();
}

}  // namespace
