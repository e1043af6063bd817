// SPDX-License-Identifier: Apache-2.0

/// The reduction loses nothing: on generated programs the exhaustive strategy ends in every state that running all executions
/// ends in, and it runs one execution of each class.

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "division_support.hpp"
#include "interlock/model/explore.hpp"
#include "interlock_platform/machine.h"
#include "outcome_support.hpp"

namespace {

using namespace interlock;
using outcome_support::add_under_a_mutex;
using outcome_support::enumerate;
using outcome_support::exhaustive;
using outcome_support::outcome;

// --- programs ---

enum class code {
  load,
  store,
  add,
  irqs_off,
  irqs_on,
  preempt_off,
  preempt_on,
  ring,
  ring_nmi,
  yield,
  might_sleep,
  add_masked,  ///< plain memory of the CPU, with interrupts off
  add_pinned,  ///< the same of its tasks, with preemption off
  set,         ///< a flag
  await,       ///< spins until a flag is set, also where nothing of its CPU can go on meanwhile
};
struct instruction {
  code what;
  int variable;
  int number;
};
using routine = std::vector<instruction>;

constexpr unsigned max_tasks = 3;
constexpr unsigned variables = 2;
constexpr int flag_count = 3;
constexpr unsigned max_cpus = 2;

struct program {
  unsigned cpus = 1;
  unsigned tasks = 2;
  routine task[max_tasks];
  routine irq;
  routine nmi;
};

program now;
std::atomic<int> shared[variables];
std::atomic<int> flags[flag_count];
int of_cpu[max_cpus];
int of_tasks[max_cpus];
int results[max_tasks + 2 * max_cpus];  ///< of what each flow has read, in order

void add_plain(int& variable, const instruction& i, unsigned who) {
  results[who] = results[who] * 5 + variable;
  variable = variable * 3 + i.number;
}

void run(const routine& instructions, unsigned who) {
  for (const instruction& i : instructions) {
    switch (i.what) {
      case code::load:
        results[who] = results[who] * 5 + shared[i.variable].load(std::memory_order_relaxed);
        break;
      case code::store:
        shared[i.variable].store(results[who] * 3 + i.number, std::memory_order_relaxed);
        break;
      case code::add:
        results[who] =
            results[who] * 5 + shared[i.variable].fetch_add(i.number, std::memory_order_relaxed);
        break;
      case code::irqs_off: interlock_machine_announce(interlock_machine_irqs_off, 0, 0, 0); break;
      case code::irqs_on: interlock_machine_announce(interlock_machine_irqs_on, 0, 0, 0); break;
      case code::preempt_off:
        interlock_machine_announce(interlock_machine_context_enter, 1, 0, 0);
        break;
      case code::preempt_on:
        interlock_machine_announce(interlock_machine_context_exit, 1, 0, 0);
        break;
      case code::ring:
        interlock_machine_ring(static_cast<unsigned>(i.number), interlock_machine_irq);
        break;
      case code::ring_nmi:
        interlock_machine_ring(static_cast<unsigned>(i.number), interlock_machine_nmi);
        break;
      case code::yield: interlock_machine_yield(); break;
      case code::might_sleep:
        interlock_machine_announce(interlock_machine_might_sleep, 0, 0, 0);
        break;
      case code::add_masked: add_plain(of_cpu[interlock_machine_cpu() - 1], i, who); break;
      case code::set: flags[i.variable].store(1, std::memory_order_relaxed); break;
      case code::await:
        while (flags[i.variable].load(std::memory_order_relaxed) == 0) interlock_machine_relax();
        break;
      case code::add_pinned: add_plain(of_tasks[interlock_machine_cpu() - 1], i, who); break;
    }
  }
}

constexpr unsigned one_hardirq = 1u << 16;
constexpr unsigned one_nmi = 1u << 20;

void irq_entry() {
  interlock_machine_announce(interlock_machine_context_enter, one_hardirq, 0, 0);
  run(now.irq, max_tasks + interlock_machine_cpu() - 1);
  interlock_machine_announce(interlock_machine_context_exit, one_hardirq, 0, 0);
}
void nmi_entry() {
  interlock_machine_announce(interlock_machine_context_enter, one_nmi, 0, 0);
  run(now.nmi, max_tasks + max_cpus + interlock_machine_cpu() - 1);
  interlock_machine_announce(interlock_machine_context_exit, one_nmi, 0, 0);
}

void body(void*) {
  std::uint64_t others[max_tasks] = {};
  others[1] = interlock_machine_spawn([](void*) { run(now.task[1], 1); }, nullptr, "one", false);
  if (now.tasks > 2)
    others[2] = interlock_machine_spawn([](void*) { run(now.task[2], 2); }, nullptr, "two", false);
  run(now.task[0], 0);
  for (unsigned i = 1; i < now.tasks; ++i) interlock_machine_join(others[i]);
}

program generate(unsigned seed) {
  std::mt19937 source{seed};
  const auto below = [&](unsigned n) { return static_cast<unsigned>(source() % n); };
  const auto access = [&] {
    const auto what = static_cast<code>(below(3));
    const auto variable = static_cast<int>(below(variables));
    return instruction{what, variable, 1 + static_cast<int>(below(4))};
  };
  program p;
  p.cpus = 1 + below(max_cpus);
  p.tasks = 2 + below(2);
  unsigned rings = 1 + below(2);
  for (unsigned t = 0; t < p.tasks; ++t) {
    routine& r = p.task[t];
    bool masked = false;
    bool pinned = false;
    const unsigned accesses = 1 + below(3);
    for (unsigned i = 0; i < accesses; ++i) {
      if (below(4) == 0) {
        r.push_back({masked ? code::irqs_on : code::irqs_off, 0, 0});
        masked = !masked;
      }
      if (below(4) == 0) {
        r.push_back({pinned ? code::preempt_on : code::preempt_off, 0, 0});
        pinned = !pinned;
      }
      switch (below(6)) {
        case 0: {
          if (!masked) r.push_back({code::irqs_off, 0, 0});
          r.push_back({code::add_masked, 0, 1 + static_cast<int>(below(4))});
          if (!masked) r.push_back({code::irqs_on, 0, 0});
          break;
        }
        case 1: {
          if (!pinned) r.push_back({code::preempt_off, 0, 0});
          r.push_back({code::add_pinned, 0, 1 + static_cast<int>(below(4))});
          if (!pinned) r.push_back({code::preempt_on, 0, 0});
          break;
        }
        default: r.push_back(access());
      }
      if (rings != 0 && below(3) == 0) {
        const code what = below(5) != 0 ? code::ring : code::ring_nmi;
        r.push_back({what, 0, 1 + static_cast<int>(below(p.cpus))});
        --rings;
      }
      if (!masked && !pinned && below(6) == 0)
        r.push_back({below(2) != 0 ? code::yield : code::might_sleep, 0, 0});
    }
    if (masked) r.push_back({code::irqs_on, 0, 0});
    if (pinned) r.push_back({code::preempt_on, 0, 0});
  }
  for (unsigned i = 0, n = 1 + below(2); i < n; ++i) {
    p.irq.push_back(below(3) != 0
                        ? access()
                        : instruction{code::add_masked, 0, 1 + static_cast<int>(below(4))});
  }
  p.nmi.push_back(access());
  return p;
}

/// A chain: who sets a flag has waited for the one before it. It comes to an end, but where somebody keeps off its CPU the one
/// that it waits for.
program generate_chain(unsigned seed) {
  std::mt19937 source{seed};
  const auto below = [&](unsigned n) { return static_cast<unsigned>(source() % n); };
  program p;
  p.cpus = max_cpus;
  p.tasks = max_tasks;
  unsigned before = max_tasks;
  for (int flag = 0; flag < flag_count; ++flag) {
    unsigned flow = below(max_tasks + 1);
    while (flow == before) flow = below(max_tasks + 1);
    before = flow;
    routine& r = flow == max_tasks ? p.irq : p.task[flow];
    const unsigned mask = flow == max_tasks ? 0 : below(3);
    if (mask == 1) r.push_back({code::irqs_off, 0, 0});
    if (mask == 2) r.push_back({code::preempt_off, 0, 0});
    if (flag != 0) r.push_back({code::await, flag - 1, 0});
    if (below(2) == 0) r.push_back({code::add, 0, flag + 1});
    r.push_back({code::set, flag, 0});
    if (mask == 1) r.push_back({code::irqs_on, 0, 0});
    if (mask == 2) r.push_back({code::preempt_on, 0, 0});
  }
  if (!p.irq.empty()) {
    routine& rings = p.task[below(max_tasks)];
    rings.insert(rings.begin(), {code::ring, 0, 1 + static_cast<int>(below(p.cpus))});
  }
  return p;
}

// --- comparing ---

constexpr unsigned models = 3;
constexpr std::uint64_t most_executions = 2'000;

std::string state_now() {
  std::string state;
  for (const auto& v : shared) state += std::to_string(v.load()) + ',';
  for (const auto& v : flags) state += std::to_string(v.load()) + ',';
  for (const int v : of_cpu) state += std::to_string(v) + ',';
  for (const int v : of_tasks) state += std::to_string(v) + ',';
  for (const int r : results) state += std::to_string(r) + ',';
  return state;
}

outcome explore(unsigned strategy, unsigned preemption, void (*what)(void*) = body) {
  interlock_machine_options o{};
  o.cpus = now.cpus;
  o.preemption = preemption;
  o.strategy = strategy;
  o.seed = 1;
  o.executions = most_executions;
  return outcome_support::explore(o, what, state_now);
}

constexpr unsigned first_seed = 1;
constexpr unsigned end_seed = 1001;
constexpr unsigned seeds_per_test = 100;

/// Compares the programs of [from, to) under each model of preemption.
void compare(unsigned from, unsigned to) {
  ASSERT_TRUE(interlock_machine_install(interlock_machine_irq, irq_entry));
  ASSERT_TRUE(interlock_machine_install(interlock_machine_nmi, nmi_entry));
  unsigned compared = 0;
  unsigned too_large = 0;
  std::uint64_t all = 0;
  std::uint64_t reduced = 0;
  for (unsigned seed = from; seed < to; ++seed) {
    now = generate(seed);
    for (unsigned preemption = 0; preemption < models; ++preemption) {
      SCOPED_TRACE("seed " + std::to_string(seed) + ", preemption " + std::to_string(preemption));
      const outcome every = explore(enumerate, preemption);
      ASSERT_EQ(every.failure, "");
      if (!every.complete) {
        ++too_large;
        continue;
      }
      const outcome one_of_each = explore(exhaustive, preemption);
      EXPECT_EQ(one_of_each.failure, "");
      EXPECT_TRUE(one_of_each.complete);
      EXPECT_EQ(one_of_each.states, every.states);
      ++compared;
      all += every.executions;
      reduced += one_of_each.executions;
    }
  }
  EXPECT_GT(compared, too_large);
  EXPECT_GT(all, 4 * reduced);
  testing::Test::RecordProperty("compared", static_cast<int>(compared));
  testing::Test::RecordProperty("too_large", static_cast<int>(too_large));
}

class same_states : public testing::TestWithParam<unsigned> {};

TEST_P(same_states, as_all_executions) { compare(GetParam(), GetParam() + seeds_per_test); }

INSTANTIATE_TEST_SUITE_P(reduction, same_states,
                         testing::Range(first_seed, end_seed, seeds_per_test));

/// The same of programs whose flows wait for each other: if some order ends in a deadlock, the reduction finds one.
void compare_deadlocks(unsigned from, unsigned to) {
  ASSERT_TRUE(interlock_machine_install(interlock_machine_irq, irq_entry));
  ASSERT_TRUE(interlock_machine_install(interlock_machine_nmi, nmi_entry));
  unsigned some_deadlock = 0;
  unsigned none = 0;
  std::uint64_t all = 0;
  std::uint64_t reduced = 0;
  for (unsigned seed = from; seed < to; ++seed) {
    now = generate_chain(seed);
    for (unsigned preemption = 0; preemption < models; ++preemption) {
      SCOPED_TRACE("seed " + std::to_string(seed) + ", preemption " + std::to_string(preemption));
      const outcome every = explore(enumerate, preemption);
      if (!every.complete && every.failure.empty()) continue;
      const outcome one_of_each = explore(exhaustive, preemption);
      EXPECT_EQ(one_of_each.failure.empty(), every.failure.empty())
          << every.failure << one_of_each.failure;
      if (!every.failure.empty()) {
        ++some_deadlock;
        continue;
      }
      EXPECT_EQ(one_of_each.states, every.states);
      all += every.executions;
      reduced += one_of_each.executions;
      ++none;
    }
  }
  testing::Test::RecordProperty("executions",
                                std::to_string(reduced) + " of " + std::to_string(all));
  EXPECT_GT(some_deadlock, (to - from) / 10);
  EXPECT_GT(none, (to - from) / 10);
}

class same_deadlocks : public testing::TestWithParam<unsigned> {};

TEST_P(same_deadlocks, as_all_executions) {
  compare_deadlocks(GetParam(), GetParam() + seeds_per_test);
}

INSTANTIATE_TEST_SUITE_P(reduction, same_deadlocks,
                         testing::Range(first_seed, end_seed, seeds_per_test));

/// Who waits and keeps its CPU keeps off what would have helped, and touches nothing of it.
TEST(reduction, who_keeps_its_cpu_shuts_out_who_would_help) {
  now = {};
  now.cpus = 2;
  now.tasks = 3;
  now.task[0] = {{code::set, 0, 0}};
  now.task[1] = {{code::await, 0, 0}, {code::set, 1, 0}};
  now.task[2] = {{code::preempt_off, 0, 0}, {code::await, 1, 0}, {code::preempt_on, 0, 0}};
  EXPECT_NE(explore(enumerate, 2).failure, "");
  EXPECT_NE(explore(exhaustive, 2).failure, "");
}

/// A deadline passes, and another task reads the clock: nothing else connects the two.
void clock_body(void*) {
  const auto sleeper = [](void*) {
    const std::uint32_t word = 0;
    interlock_machine_park(&word, 0, interlock_machine_now() + 1'000, false);
    results[1] = interlock_machine_now() > 1'000'000'000 ? 1 : 0;
  };
  const std::uint64_t other = interlock_machine_spawn(sleeper, nullptr, "sleeper", false);
  shared[0].fetch_add(1);
  results[0] = interlock_machine_now() > 1'000'000'000 ? 1 : 0;
  interlock_machine_join(other);
}

TEST(reduction, who_reads_the_clock_depends_on_deadlines) {
  for (const unsigned cpus : {1u, 2u}) {
    now.cpus = cpus;
    const outcome every = explore(enumerate, 2, clock_body);
    const outcome one_of_each = explore(exhaustive, 2, clock_body);
    EXPECT_EQ(every.states.size(), 2u);
    EXPECT_EQ(one_of_each.states, every.states) << cpus;
  }
}

TEST(reduction, programs_end_in_several_states) {
  // The comparison would be empty if orders made no difference.
  ASSERT_TRUE(interlock_machine_install(interlock_machine_irq, irq_entry));
  ASSERT_TRUE(interlock_machine_install(interlock_machine_nmi, nmi_entry));
  unsigned several = 0;
  for (unsigned seed = 1; seed <= 40; ++seed) {
    now = generate(seed);
    if (explore(exhaustive, 2).states.size() > 1) ++several;
  }
  EXPECT_GT(several, 25u);
}

// --- divided among processes ---

/// As `explore`; `ran`: how many executions were not cut short, by whomever.
outcome explore_divided(unsigned processes, unsigned preemption, std::size_t& ran) {
  division_support::shared_texts states;
  interlock_machine_options o{};
  o.cpus = now.cpus;
  o.preemption = preemption;
  o.strategy = exhaustive;
  o.seed = 1;
  o.executions = 4 * most_executions;
  o.processes = processes;
  o.state_context = &states;
  o.state = [](void*, void* all) {
    static_cast<division_support::shared_texts*>(all)->add(state_now());
  };
  interlock_machine_result r{};
  interlock_machine_explore(&o, body, nullptr, &r);
  outcome out{states.all(), r.complete, r.failed ? r.text : "", r.executions};
  ran = r.executions - r.blocked;
  EXPECT_EQ(states.count(), ran);
  EXPECT_TRUE(states.has_all());
  interlock_machine_result_free(&r);
  return out;
}

TEST(reduction, divided_it_ends_in_the_same_states) {
  ASSERT_TRUE(interlock_machine_install(interlock_machine_irq, irq_entry));
  ASSERT_TRUE(interlock_machine_install(interlock_machine_nmi, nmi_entry));
  constexpr unsigned programs = 60;
  constexpr unsigned few = 50;  // executions: hardly anything to divide
  unsigned compared = 0;
  std::uint64_t alone = 0;
  std::uint64_t together = 0;
  for (unsigned seed = first_seed; compared < programs; ++seed) {
    now = generate(seed);
    const unsigned preemption = seed % models;
    std::size_t ran = 0;
    const outcome one = explore_divided(1, preemption, ran);
    if (one.executions < few || !one.complete) continue;
    ++compared;
    for (unsigned processes = 2; processes <= 3; ++processes) {
      SCOPED_TRACE("seed " + std::to_string(seed) + ", preemption " + std::to_string(preemption) +
                   ", processes " + std::to_string(processes));
      std::size_t ran_by_all = 0;
      const outcome many = explore_divided(processes, preemption, ran_by_all);
      EXPECT_EQ(many.failure, "");
      EXPECT_TRUE(many.complete);
      EXPECT_EQ(many.states, one.states);
      alone += ran;
      together += ran_by_all;
    }
  }
  // With interrupts the reduction may run some of a class more than once, and which depends on what was found first.
  constexpr std::uint64_t percent = 100;
  EXPECT_LT(together, alone + 3 * alone / percent);
  EXPECT_GT(together, alone - 3 * alone / percent);
  testing::Test::RecordProperty("alone", static_cast<int>(alone));
  testing::Test::RecordProperty("together", static_cast<int>(together));
}

// --- the number of classes ---

/// `threads` threads that each take `steps` steps on one object: (threads * steps)! / (steps!)^threads orders.
template <class F>
std::uint64_t classes(unsigned threads, F f) {
  model::options o;
  o.cpus = 4;
  o.strategy = model::strategy::exhaustive;
  o.executions = 0;
  o.time = std::chrono::minutes{1};
  const auto r = model::explore(o, [&] { f(threads); });
  EXPECT_TRUE(r.passed() && r.complete()) << r;
  return r.executions() - r.blocked();
}

void add_atomically(unsigned threads, unsigned steps) {
  std::atomic<unsigned> n{0};
  std::vector<std::thread> all;
  for (unsigned t = 0; t < threads; ++t) {
    all.emplace_back([&] {
      for (unsigned i = 0; i < steps; ++i) n.fetch_add(1);
    });
  }
  for (std::thread& t : all) t.join();
  if (n.load() != threads * steps) std::abort();
}

TEST(reduction, atomics_are_run_once_per_order) {
  EXPECT_EQ(classes(3, [](unsigned t) { add_atomically(t, 2); }), 90u);
  EXPECT_EQ(classes(3, [](unsigned t) { add_atomically(t, 3); }), 1680u);
  EXPECT_EQ(classes(3, [](unsigned t) { add_atomically(t, 4); }), 34650u);
}

TEST(reduction, critical_sections_are_run_once_per_order) {
  EXPECT_EQ(classes(3, [](unsigned t) { add_under_a_mutex(t, 2); }), 90u);
  EXPECT_EQ(classes(3, [](unsigned t) { add_under_a_mutex(t, 3); }), 1680u);
}

TEST(reduction, what_touches_nothing_in_common_is_run_once) {
  EXPECT_EQ(classes(3,
                    [](unsigned threads) {
                      std::atomic<int> own[3]{};
                      std::vector<std::thread> all;
                      for (unsigned t = 0; t < threads; ++t)
                        all.emplace_back([&own, t] {
                          for (int i = 0; i < 4; ++i) own[t].fetch_add(1);
                        });
                      for (std::thread& t : all) t.join();
                    }),
            1u);
}

}  // namespace
