// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What a scheduling point and a switch between flows cost. Two tasks add to an atomic variable; on one CPU without
/// preemption the first goes on until it ends, on two each step falls to either with the same odds. What the second form
/// takes longer, for each switch, is the switch, and the choice between two.

#include <benchmark/benchmark.h>

#include <atomic>
#include <thread>

#include "interlock/model/explore.hpp"

namespace interlock::bench {

constexpr int additions = 4000;

/// `touch` is called by each task.
inline void steps(benchmark::State& state, bool switches, void (*touch)()) {
  model::options how;
  how.cpus = switches ? 2 : 1;
  how.preemption = switches ? model::preemption::full : model::preemption::none;
  how.strategy = model::strategy::random;
  how.executions = 100;
  how.time = {};
  double steps = 0;
  for (auto _ : state) {
    const auto r = model::explore(how, [=] {
      std::atomic<unsigned> n{0};
      const auto add = [&] {
        touch();
        for (int i = 0; i < additions; ++i) n.fetch_add(1, std::memory_order_relaxed);
      };
      std::thread one{add};
      std::thread other{add};
      one.join();
      other.join();
    });
    if (!r.passed()) return state.SkipWithError("the exploration found a failure");
    steps += static_cast<double>(r.steps());
  }
  using benchmark::Counter;
  state.counters["time/step"] = {steps, Counter::kIsRate | Counter::kInvert};  // of the CPU
}

}  // namespace interlock::bench
