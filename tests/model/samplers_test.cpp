// SPDX-License-Identifier: Apache-2.0

/// How evenly samplers spread over the orders of a program, in which they differ. Seeds are fixed, so the counts repeat.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <thread>

#include "interlock_platform/machine.h"

namespace {

constexpr int long_steps = 6;
constexpr int places = long_steps + 1;
constexpr unsigned random_walk = 3;
constexpr unsigned urw = 6;
constexpr std::uint64_t executions = 14'000;

std::atomic<int> steps;
std::atomic<int> place;  ///< of the short one's step among those of the long one

using counts = std::array<std::uint64_t, places>;

void program(void*) {
  steps = 0;
  std::thread longer{[] {
    for (int i = 0; i < long_steps; ++i) steps.fetch_add(1);
  }};
  std::thread shorter{[] { place = steps.load(); }};
  longer.join();
  shorter.join();
}

counts sample(unsigned strategy) {
  counts found{};
  interlock_machine_options o{};
  o.cpus = 3;
  o.preemption = 2;
  o.strategy = strategy;
  o.seed = 1;
  o.executions = executions;
  o.state_context = &found;
  o.state = [](void*, void* context) {
    ++(*static_cast<counts*>(context))[static_cast<std::size_t>(place.load())];
  };
  interlock_machine_result r{};
  interlock_machine_explore(&o, program, nullptr, &r);
  EXPECT_FALSE(r.failed) << r.text;
  EXPECT_EQ(r.executions, executions);
  interlock_machine_result_free(&r);
  return found;
}

TEST(samplers, urw_spreads_evenly_where_a_fair_walk_does_not) {
  constexpr std::uint64_t even = executions / places;
  const counts by_urw = sample(urw);
  EXPECT_GT(*std::min_element(by_urw.begin(), by_urw.end()), even / 3);
  EXPECT_LT(*std::max_element(by_urw.begin(), by_urw.end()), even * 2);
  const counts by_walk = sample(random_walk);
  EXPECT_LT(*std::min_element(by_walk.begin(), by_walk.end()), even / 3);
  EXPECT_GT(*std::max_element(by_walk.begin(), by_walk.end()), even * 2);
}

// --- what one of them seldom meets, another meets at once ---

std::atomic<int> last_by;
std::atomic<int> switches;

/// Fails if two tasks take turns at each of their steps: more switches than `pct` makes.
void fails_by_turns(void*) {
  last_by = 0;
  switches = 0;
  const auto take_turns = [](int me) {
    for (int i = 0; i < 4; ++i) {
      if (last_by.exchange(me) != me) ++switches;
    }
  };
  std::thread one{take_turns, 1};
  std::thread two{take_turns, 2};
  one.join();
  two.join();
  if (switches == 8) std::abort();
}

/// Fails if the short task comes behind forty steps of the long one: no fair walk waits so long.
void fails_when_late(void*) {
  steps = 0;
  std::thread shorter{[] {
    if (steps.load() == 40) std::abort();
  }};
  std::thread longer{[] {
    for (int i = 0; i < 40; ++i) steps.fetch_add(1);
  }};
  longer.join();
  shorter.join();
}

bool fails(unsigned strategy, void (*function)(void*)) {
  interlock_machine_options o{};
  o.cpus = 3;
  o.preemption = 2;
  o.strategy = strategy;
  o.seed = 1;
  o.executions = 3'000;
  interlock_machine_result r{};
  interlock_machine_explore(&o, function, nullptr, &r);
  const bool failed = r.failed;
  interlock_machine_result_free(&r);
  return failed;
}

TEST(samplers, in_turn_find_what_each_of_them_misses) {
  constexpr unsigned pct = 4;
  constexpr unsigned samplers = 7;
  EXPECT_FALSE(fails(pct, fails_by_turns));
  EXPECT_TRUE(fails(random_walk, fails_by_turns));
  EXPECT_TRUE(fails(pct, fails_when_late));
  EXPECT_FALSE(fails(random_walk, fails_when_late));
  EXPECT_TRUE(fails(samplers, fails_by_turns));
  EXPECT_TRUE(fails(samplers, fails_when_late));
}

}  // namespace
