// SPDX-License-Identifier: Apache-2.0

/// CPUs on which several tasks run, and service CPUs that outlive their task.

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "interlock/interlock.hpp"
#include "interlock/model/explore.hpp"
#include "interlock/model/gtest.hpp"

namespace {

using namespace interlock;

model::options on(unsigned cpus, std::uint64_t executions) {
  model::options o;
  o.cpus = cpus;
  o.executions = executions;
  return o;
}

/// Its memory is the execution's.
kthread run(const char* name, auto function) {
  return kthread_run(name, std::move(function)).value();
}

TEST(irq_cpu, a_stopped_service_cpu_is_offline) {
  const model::expectations here;
  const auto r = model::explore(on(2, 2000), [] {
    EXPECT_TRUE(online_cpu().has_value());
    const cpu_id service = *service_cpu();
    EXPECT_TRUE(cpu_is_online(service));
    shutdown();
    EXPECT_FALSE(cpu_is_online(service));
    int calls = 0;
    const auto count = [](void* n) { ++*static_cast<int*>(n); };
    EXPECT_FALSE(smp_call_function_single(service, count, &calls).has_value());
    EXPECT_EQ(calls, 0);
    const cpu_id next = *service_cpu();  // a new one
    EXPECT_TRUE(cpu_is_online(next));
    EXPECT_TRUE(smp_call_function_single(next, count, &calls).has_value());
    EXPECT_EQ(calls, 1);
  });
  EXPECT_TRUE(r.passed()) << r;
}

TEST(irq_cpu, what_a_stopped_service_cpu_has_queued_is_served_by_the_next) {
  const model::expectations here;
  const auto r = model::explore(on(2, 2000), [] {
    completion done;
    const auto line = *make_irq_line({.name = "late"});
    const auto action = request_irq(*line, [&] {
                          done.complete();
                          return irqreturn::handled;
                        }).value();
    auto raiser = run("raiser", [&] { raise_irq(*line); });
    shutdown();
    (void)raiser.join();
    (void)service_cpu();
    done.wait();
  });
  EXPECT_TRUE(r.passed()) << r;
}

TEST(irq_cpu, two_tasks_bring_their_cpu_online_once) {
  const model::expectations here;
  model::options o = on(1, 3000);
  o.strategy = model::strategy::random;  // the words of a CPU are no points, so nothing is reduced
  const auto r = model::explore(o, [] {
    (void)service_cpu();
    auto a = run("a", [] { EXPECT_TRUE(online_cpu().has_value()); });
    auto b = run("b", [] { EXPECT_TRUE(online_cpu().has_value()); });
    (void)a.join();
    (void)b.join();
    atomic<int> calls{0};
    const auto count = [](void* n) { static_cast<atomic<int>*>(n)->fetch_add_relaxed(1); };
    EXPECT_TRUE(on_each_cpu(count, &calls).has_value());
    EXPECT_EQ(calls.load_relaxed(), 2);  // this one, and the service CPU
  });
  EXPECT_TRUE(r.passed()) << r;
}

TEST(irq_cpu, the_end_of_a_task_is_not_the_end_of_its_cpu) {
  const model::expectations here;
  const auto r = model::explore(on(1, 2000), [] {
    bool first = false;
    bool second = false;
    auto a = run("a", [&] { first = online_cpu().has_value(); });
    (void)a.join();
    auto b = run("b", [&] { second = online_cpu().has_value(); });
    (void)b.join();
    EXPECT_TRUE(first);
    EXPECT_TRUE(second);
    EXPECT_TRUE(cpu_is_online(smp_processor_id()));
  });
  EXPECT_TRUE(r.passed()) << r;
}

TEST(irq_cpu, a_handler_knows_the_task_it_halted_on_whatever_it_lands) {
  const model::expectations here;
  const auto r = model::explore(on(2, 4000), [] {
    const auto cpu = *online_cpu();
    const auto line =
        *make_irq_line({.name = "ask", .kind = irq_kind::asynchronous, .target = cpu});
    completion done;
    const auto action = request_irq(*line, [&] {
                          EXPECT_NE(&current_task(), nullptr);
                          EXPECT_EQ(&current_task(), &current_task());
                          done.complete();
                          return irqreturn::handled;
                        }).value();
    // The first runs on the other CPU; the second shares the one that is interrupted, and has not
    // needed a task of its own.
    std::thread raiser{[&] { raise_irq(*line); }};
    std::atomic<int> seen{0};
    std::thread bystander{[&] { seen.fetch_add(1); }};
    done.wait();
    raiser.join();
    bystander.join();
  });
  EXPECT_TRUE(r.passed()) << r;
}

TEST(irq_cpu, a_task_keeps_the_identity_that_a_handler_gave_it) {
  const model::expectations here;
  const auto r = model::explore(on(2, 4000), [] {
    const auto cpu = *online_cpu();
    const task* halted = nullptr;
    const auto line =
        *make_irq_line({.name = "ask", .kind = irq_kind::asynchronous, .target = cpu});
    const auto action = request_irq(*line, [&] {
                          halted = &current_task();
                          return irqreturn::handled;
                        }).value();
    const task* self = nullptr;
    std::thread raiser{[&] { raise_irq(*line); }};
    std::thread bystander{[&] {
      self = &current_task();
      EXPECT_EQ(self, &current_task());
    }};
    raiser.join();
    bystander.join();
    EXPECT_NE(self, nullptr);
  });
  EXPECT_TRUE(r.passed()) << r;
}

/// The called CPU waits for a task of the caller's CPU, which runs only if the caller sleeps.
TEST(irq_cpu, a_call_sleeps_while_its_target_needs_the_callers_cpu) {
  const model::expectations here;
  model::options o = on(2, 2000);
  o.preemption = model::preemption::none;
  const auto r = model::explore(o, [] {
    std::atomic<std::uint32_t> target{0};
    std::atomic<bool> go{false};
    auto other = run("other", [&] {  // on the other CPU
      const auto self = static_cast<std::uint32_t>(*online_cpu());
      guard g{irqsave};
      target = self;
      while (!go) {
      }
    });
    std::thread releaser{[&] { go = true; }};  // on this one
    while (target == 0) {
    }
    int calls = 0;
    const auto count = [](void* n) { ++*static_cast<int*>(n); };
    EXPECT_TRUE(smp_call_function_single(cpu_id{target.load()}, count, &calls).has_value());
    EXPECT_EQ(calls, 1);
    releaser.join();
    (void)other.join();
  });
  EXPECT_TRUE(r.passed()) << r;
}

}  // namespace
