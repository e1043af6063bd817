// SPDX-License-Identifier: Apache-2.0

/// How evenly samplers spread over the orders of a program, in which they differ. Seeds are fixed, so the counts repeat.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
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

}  // namespace
