// SPDX-License-Identifier: Apache-2.0

/// Where a CPU goes over to another task: the three models of preemption, what holds it off, and spinning.

#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <string>
#include <thread>

#include "interlock/interlock.hpp"
#include "interlock/model/explore.hpp"
#include "interlock_platform/machine.h"

namespace {

using namespace interlock;
using model::preemption;

constexpr preemption models[] = {preemption::none, preemption::voluntary, preemption::full};

model::options on_one_cpu(preemption p) {
  model::options o;
  o.cpus = 1;
  o.preemption = p;
  o.strategy = model::strategy::exhaustive;
  return o;
}

/// What an execution writes down: its steps in order. By code that is not instrumented, since it is no part of what is explored.
struct journal {
  char text[32];
  unsigned size;
};
journal written;

/// All that `function` writes down, in any execution.
std::set<std::string> journals(preemption p, void (*function)(void*)) {
  std::set<std::string> all;
  interlock_machine_options o{};
  o.cpus = 1;
  o.preemption = static_cast<unsigned>(p);
  o.strategy = 2;
  o.executions = 100'000;
  o.state_context = &all;
  o.state = [](void*, void* context) {
    static_cast<std::set<std::string>*>(context)->insert({written.text, written.size});
  };
  interlock_machine_result r{};
  interlock_machine_explore(&o, function, nullptr, &r);
  EXPECT_FALSE(r.failed) << r.text;
  EXPECT_TRUE(r.complete);
  interlock_machine_result_free(&r);
  return all;
}

__attribute__((no_sanitize("thread"), noinline)) void write_down(char c) {
  written.text[written.size++] = c;
}
__attribute__((no_sanitize("thread"), noinline)) void begin_page() { written.size = 0; }

std::atomic<int> steps{0};

/// A step that others can come before.
void note(char c) {
  steps.fetch_add(1, std::memory_order_relaxed);
  write_down(c);
}

template <auto Between>
void two_tasks(void*) {
  begin_page();
  std::thread a{[] {
    note('a');
    Between();
    note('A');
  }};
  std::thread b{[] {
    note('b');
    Between();
    note('B');
  }};
  a.join();
  b.join();
}

using texts = std::set<std::string>;
const texts one_after_the_other{"aAbB", "bBaA"};
const texts all_orders{"aAbB", "abAB", "abBA", "baAB", "baBA", "bBaA"};

TEST(preemption, only_full_preempts_anywhere) {
  void (*const program)(void*) = two_tasks<[] {}>;
  EXPECT_EQ(journals(preemption::none, program), one_after_the_other);
  EXPECT_EQ(journals(preemption::voluntary, program), one_after_the_other);
  EXPECT_EQ(journals(preemption::full, program), all_orders);
}

TEST(preemption, voluntary_also_preempts_where_a_task_might_sleep) {
  void (*const program)(void*) = two_tasks<[] { might_sleep(); }>;
  EXPECT_EQ(journals(preemption::none, program), one_after_the_other);
  EXPECT_EQ(journals(preemption::voluntary, program), all_orders);
  EXPECT_EQ(journals(preemption::full, program), all_orders);
}

TEST(preemption, every_model_lets_others_in_at_a_yield) {
  void (*const program)(void*) = two_tasks<[] { interlock_machine_yield(); }>;
  for (const preemption p : models) EXPECT_EQ(journals(p, program), all_orders);
}

TEST(preemption, cond_resched_gives_way_where_it_was_asked_to) {
  void (*const asked)(void*) = two_tasks<[] {
    set_need_resched(current_task());
    (void)cond_resched();
  }>;
  EXPECT_EQ(journals(preemption::none, asked), all_orders);
  void (*const not_asked)(void*) = two_tasks<[] { (void)cond_resched(); }>;
  EXPECT_EQ(journals(preemption::none, not_asked), one_after_the_other);
}

TEST(preemption, held_off_in_atomic_context) {
  const auto disabled = [](void*) {
    begin_page();
    const auto section = [](char first, char second) {
      preempt_disable();
      note(first);
      note(second);
      preempt_enable();
    };
    std::thread a{[&] { section('a', 'A'); }};
    std::thread b{[&] { section('b', 'B'); }};
    a.join();
    b.join();
  };
  EXPECT_EQ(journals(preemption::full, disabled), one_after_the_other);
  const auto masked = [](void*) {
    begin_page();
    const auto section = [](char first, char second) {
      const auto flags = local_irq_save();
      note(first);
      note(second);
      local_irq_restore(flags);
    };
    std::thread a{[&] { section('a', 'A'); }};
    std::thread b{[&] { section('b', 'B'); }};
    a.join();
    b.join();
  };
  EXPECT_EQ(journals(preemption::full, masked), one_after_the_other);
}

TEST(preemption, on_two_cpus_a_disabled_one_holds_off_nobody_else) {
  model::options o = on_one_cpu(preemption::full);
  o.cpus = 3;
  const auto r = model::explore(o, [] {
    std::atomic<int> n{0};
    const auto add = [&] {
      preempt_disable();
      n.store(n.load() + 1);
      preempt_enable();
    };
    std::thread a{add};
    std::thread b{add};
    a.join();
    b.join();
    if (n.load() != 2) std::abort();
  });
  EXPECT_FALSE(r.passed());
  o.cpus = 1;
  const auto alone = model::explore(o, [] {
    std::atomic<int> n{0};
    const auto add = [&] {
      preempt_disable();
      n.store(n.load() + 1);
      preempt_enable();
    };
    std::thread a{add};
    std::thread b{add};
    a.join();
    b.join();
    if (n.load() != 2) std::abort();
  });
  EXPECT_TRUE(alone.passed() && alone.complete()) << alone;
}

// --- spinning ---

template <class F>
auto spinner(F wait) {
  return [wait] {
    std::atomic<bool> ready{false};
    std::thread other{[&] { ready.store(true); }};
    while (!ready.load()) wait();
    other.join();
  };
}

TEST(preemption, a_spinning_task_ends_where_the_other_can_run) {
  model::options two = on_one_cpu(preemption::none);
  two.cpus = 2;
  const auto relaxing = spinner([] { interlock_machine_relax(); });
  const auto r = model::explore(two, relaxing);
  EXPECT_TRUE(r.passed() && r.complete()) << r;
  const auto preempted = model::explore(on_one_cpu(preemption::full), relaxing);
  EXPECT_TRUE(preempted.passed() && preempted.complete()) << preempted;
  // Without it the loop is told by what it loads.
  const auto bare = model::explore(two, spinner([] {}));
  EXPECT_TRUE(bare.passed() && bare.complete()) << bare;
}

TEST(preemption, spinning_on_one_cpu_is_a_livelock) {
  for (const preemption p : {preemption::none, preemption::voluntary}) {
    const auto r = model::explore(on_one_cpu(p), spinner([] { interlock_machine_relax(); }));
    EXPECT_NE(r.text().find("BUG: livelock"), std::string::npos) << r;
  }
  const auto pinned = model::explore(on_one_cpu(preemption::full), [] {
    std::atomic<bool> ready{false};
    std::thread other{[&] { ready.store(true); }};
    preempt_disable();
    while (!ready.load()) interlock_machine_relax();
    preempt_enable();
    other.join();
  });
  EXPECT_NE(pinned.text().find("BUG: livelock"), std::string::npos) << pinned;
}

TEST(preemption, a_spinning_task_that_yields_lets_the_other_run) {
  for (const preemption p : models) {
    const auto r = model::explore(on_one_cpu(p), spinner([] { std::this_thread::yield(); }));
    EXPECT_TRUE(r.passed() && r.complete()) << r;
  }
}

TEST(preemption, two_that_wait_for_each_other_are_a_livelock) {
  const auto r = model::explore([] {
    std::atomic<bool> a{false};
    std::atomic<bool> b{false};
    std::thread other{[&] {
      while (!a.load()) interlock_machine_relax();
      b.store(true);
    }};
    while (!b.load()) interlock_machine_relax();
    a.store(true);
    other.join();
  });
  EXPECT_NE(r.text().find("BUG: livelock"), std::string::npos) << r;
}

}  // namespace
