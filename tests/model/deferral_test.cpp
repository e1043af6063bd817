// SPDX-License-Identifier: Apache-2.0

/// The reduction loses nothing of what the library holds back either: softirqs where bottom halves are off, interrupts where
/// those are (granularity full). On generated programs the exhaustive strategy ends in every state that running all
/// executions ends in.

#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "interlock_platform/machine.h"
#include "irq/descriptor.hpp"
#include "library_support.hpp"
#include "outcome_support.hpp"

namespace {

using namespace interlock;
using outcome_support::enumerate;
using outcome_support::exhaustive;
using outcome_support::outcome;

enum class code { load, store, add, irqs_off, irqs_on, bh_off, bh_on, raise, ring };
struct instruction {
  code what;
  int variable;
  int number;
};
using routine = std::vector<instruction>;

constexpr unsigned variables = 2;
constexpr unsigned tasks = 2;
constexpr unsigned all_cpus = 2;

struct program {
  unsigned cpus;
  routine task[tasks];
  routine handler;
  routine action;
};

enum flow : unsigned { first_task, second_task, in_handler, in_softirq, flows };

program now;
softirq vector;
std::atomic<int> shared[variables];
int of_softirqs[all_cpus];  ///< plain: bottom halves off keep it apart
int results[flows][all_cpus];

void run(const routine& instructions, unsigned who) {
  int& mine = results[who][interlock_machine_cpu() - 1];
  for (const instruction& i : instructions) {
    switch (i.what) {
      case code::load: mine = mine * 5 + shared[i.variable].load(std::memory_order_relaxed); break;
      case code::store:
        shared[i.variable].store(mine * 3 + i.number, std::memory_order_relaxed);
        break;
      case code::add:
        mine = mine * 5 + shared[i.variable].fetch_add(i.number, std::memory_order_relaxed);
        break;
      case code::irqs_off: local_irq_disable(); break;
      case code::irqs_on: local_irq_enable(); break;
      case code::bh_off: local_bh_disable(); break;
      case code::bh_on: local_bh_enable(); break;
      case code::raise: raise_softirq(vector); break;
      case code::ring:
        interlock_machine_ring(static_cast<unsigned>(i.number), interlock_machine_irq);
        break;
    }
  }
}

/// The CPUs of this test are not online: what rings them is no line, but the handler runs as any, and softirqs at its end. One
/// that is let in where interrupts are off (granularity full) leaves a softirq.
void entry() {
  if (irqs_disabled() || in_hardirq()) return raise_softirq(vector);
  detail::run_as_interrupt([](void*) { run(now.handler, in_handler); }, nullptr);
}

void softirq_action(void*) {
  of_softirqs[interlock_machine_cpu() - 1] += 1;
  run(now.action, in_softirq);
}

void body(void*) {
  const std::uint64_t other = interlock_machine_spawn([](void*) { run(now.task[1], second_task); },
                                                      nullptr, "other", false);
  run(now.task[0], first_task);
  interlock_machine_join(other);
}

program generate(unsigned seed) {
  std::mt19937 source{seed};
  const auto below = [&](unsigned n) { return static_cast<unsigned>(source() % n); };
  const auto access = [&] {
    return instruction{static_cast<code>(below(3)), static_cast<int>(below(variables)),
                       1 + static_cast<int>(below(4))};
  };
  program p{};
  p.cpus = 1 + below(all_cpus);
  bool rings = true;
  for (routine& r : p.task) {
    const unsigned regions = 1 + below(2);
    for (unsigned i = 0; i < regions; ++i) {
      const unsigned mask = below(3);
      if (mask == 1) r.push_back({code::irqs_off, 0, 0});
      if (mask == 2) r.push_back({code::bh_off, 0, 0});
      for (unsigned k = 0, n = 1 + below(2); k < n; ++k)
        r.push_back(below(4) == 0 ? instruction{code::raise, 0, 0} : access());
      if (rings && below(2) == 0) {
        r.push_back({code::ring, 0, 1 + static_cast<int>(below(p.cpus))});
        rings = false;
      }
      if (mask == 1) r.push_back({code::irqs_on, 0, 0});
      if (mask == 2) r.push_back({code::bh_on, 0, 0});
    }
  }
  if (below(3) == 0) p.handler.push_back(access());
  if (below(3) != 0) p.handler.push_back({code::raise, 0, 0});
  p.action.push_back(access());
  return p;
}

/// "task 0: irqs_off add1 irqs_on; ..."
std::string text_of(const program& p) {
  static constexpr const char* names[] = {"load",   "store", "add",   "irqs_off", "irqs_on",
                                          "bh_off", "bh_on", "raise", "ring"};
  std::string text = std::to_string(p.cpus) + " CPUs";
  const auto put = [&](const char* who, const routine& r) {
    text += std::string{"; "} + who + ':';
    for (const instruction& i : r)
      text += std::string{" "} + names[static_cast<unsigned>(i.what)] + std::to_string(i.variable);
  };
  put("task 0", p.task[0]);
  put("task 1", p.task[1]);
  put("handler", p.handler);
  put("softirq", p.action);
  return text;
}

constexpr unsigned preemptible = 2;
constexpr std::uint64_t most_executions = 12'000;

std::string state_now() {
  std::string state;
  for (const auto& v : shared) state += std::to_string(v.load()) + ',';
  for (const int v : of_softirqs) state += std::to_string(v) + ',';
  for (const auto& r : results) {
    for (const int v : r) state += std::to_string(v) + ',';
  }
  return state;
}

outcome explore(unsigned strategy, unsigned granularity) {
  interlock_machine_options o{};
  o.cpus = now.cpus;
  o.preemption = preemptible;
  o.strategy = strategy;
  o.granularity = granularity;
  o.seed = 1;
  o.executions = most_executions;
  return outcome_support::explore(o, body, state_now);
}

constexpr unsigned first_seed = 1;
constexpr unsigned end_seed = 101;
constexpr unsigned seeds_per_test = 50;

/// Compares the programs of [from, to).
void compare(unsigned from, unsigned to, unsigned granularity) {
  if (vector == softirq{}) vector = open_softirq("test", softirq_action, nullptr).value();
  ASSERT_TRUE(interlock_machine_install(interlock_machine_irq, entry));
  unsigned compared = 0;
  std::uint64_t all = 0;
  std::uint64_t reduced = 0;
  for (unsigned seed = from; seed < to; ++seed) {
    now = generate(seed);
    SCOPED_TRACE("seed " + std::to_string(seed) + ": " + text_of(now));
    const outcome every = explore(enumerate, granularity);
    ASSERT_EQ(every.failure, "");
    if (!every.complete) continue;
    const outcome one_of_each = explore(exhaustive, granularity);
    EXPECT_EQ(one_of_each.failure, "");
    EXPECT_TRUE(one_of_each.complete);
    EXPECT_EQ(one_of_each.states, every.states);
    ++compared;
    all += every.executions;
    reduced += one_of_each.executions;
  }
  EXPECT_GT(compared, (to - from) / 8);
  EXPECT_GT(all, 4 * reduced);
  testing::Test::RecordProperty("compared", static_cast<int>(compared));
  testing::Test::RecordProperty("executions",
                                std::to_string(reduced) + " of " + std::to_string(all));
}

class deferred : public testing::TestWithParam<unsigned> {};

TEST_P(deferred, softirqs_end_in_the_states_of_all_executions) {
  compare(GetParam(), GetParam() + seeds_per_test, 0);
}

TEST_P(deferred, interrupts_end_in_the_states_of_all_executions) {
  compare(GetParam(), GetParam() + seeds_per_test, 1);
}

INSTANTIATE_TEST_SUITE_P(reduction, deferred, testing::Range(first_seed, end_seed, seeds_per_test));

}  // namespace
