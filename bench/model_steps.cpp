// SPDX-License-Identifier: Apache-2.0

/// See model_steps.hpp. A program without thread_local variables.

#include "model_steps.hpp"

namespace {

void point(benchmark::State& state) {
  interlock::bench::steps(state, false, [] {});
}
BENCHMARK(point)->Unit(benchmark::kMillisecond);

void point_and_half_a_switch(benchmark::State& state) {
  interlock::bench::steps(state, true, [] {});
}
BENCHMARK(point_and_half_a_switch)->Unit(benchmark::kMillisecond);

}  // namespace
