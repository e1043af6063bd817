// SPDX-License-Identifier: Apache-2.0

/// See model_steps.hpp. Each flow has variables of its own, which a switch exchanges.

#include "model_steps.hpp"

namespace {

thread_local volatile int used[16];

void point(benchmark::State& state) {
  interlock::bench::steps(state, false, [] { used[0] = used[0] + 1; });
}
BENCHMARK(point)->Unit(benchmark::kMillisecond);

void point_and_half_a_switch(benchmark::State& state) {
  interlock::bench::steps(state, true, [] { used[0] = used[0] + 1; });
}
BENCHMARK(point_and_half_a_switch)->Unit(benchmark::kMillisecond);

}  // namespace
