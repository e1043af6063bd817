// SPDX-License-Identifier: Apache-2.0

/// The rate at which the model platform explores. An iteration is a whole exploration, its setting up included.
/// Rates are by CPU time: one thread does everything.

#include <benchmark/benchmark.h>

#include <atomic>
#include <mutex>
#include <thread>

#include "interlock/interlock.hpp"
#include "interlock/model/explore.hpp"

namespace {

using namespace interlock;

/// `expected`: that many executions, and all of them; 0: a sample.
template <class F>
void explore(benchmark::State& state, const model::options& how, std::uint64_t expected,
             F&& function) {
  std::uint64_t executions = 0;
  std::uint64_t steps = 0;
  for (auto _ : state) {
    const auto r = model::explore(how, function);
    executions += r.executions();
    steps += r.steps();
    if (!r.passed()) return state.SkipWithError("the exploration found a failure");
    if (expected != 0 && (!r.complete() || r.executions() - r.blocked() != expected))
      return state.SkipWithError("not as many executions as there are classes");
  }
  const auto rate = benchmark::Counter::kIsRate;
  state.counters["executions"] =
      static_cast<double>(executions) / static_cast<double>(state.iterations());
  state.counters["executions/s"] = {static_cast<double>(executions), rate};
  state.counters["steps/s"] = {static_cast<double>(steps), rate};
}

model::options all(unsigned cpus) {
  model::options o;
  o.granularity = model::granularity::library;
  o.cpus = cpus;
  o.strategy = model::strategy::exhaustive;
  o.executions = 0;
  o.time = {};
  return o;
}
model::options some(model::strategy how, std::uint64_t executions, unsigned cpus) {
  model::options o = all(cpus);
  o.strategy = how;
  o.executions = executions;
  return o;
}

/// Three threads add `times` each, under a mutex. Its classes are the orders of the critical sections.
void count(int times) {
  std::mutex lock;
  int n = 0;
  const auto add = [&] {
    for (int i = 0; i < times; ++i) {
      const std::lock_guard g{lock};
      ++n;
    }
  };
  std::thread a{add};
  std::thread b{add};
  std::thread c{add};
  a.join();
  b.join();
  c.join();
}

void mutex_counter_all(benchmark::State& state) {
  const auto times = static_cast<int>(state.range(0));
  explore(state, all(4), static_cast<std::uint64_t>(state.range(1)), [=] { count(times); });
}
BENCHMARK(mutex_counter_all)
    ->ArgNames({"increments", "classes"})
    ->Args({2, 90})
    ->Args({4, 34'650})
    ->Unit(benchmark::kMillisecond);

void mutex_counter_sampled(benchmark::State& state) {
  explore(state, some(static_cast<model::strategy>(state.range(0)), 20'000, 4), 0,
          [] { count(2); });
}
BENCHMARK(mutex_counter_sampled)
    ->ArgName("strategy")
    ->Arg(static_cast<int>(model::strategy::random))
    ->Arg(static_cast<int>(model::strategy::pct))
    ->Unit(benchmark::kMillisecond);

/// A task and the handler of a line of its CPU share a counter; a device raises the line from the other one.
void driver() {
  const auto line = *make_irq_line({.name = "device", .kind = irq_kind::asynchronous});
  spinlock lock;
  int n = 0;
  const auto action = request_irq(*line, [&] {
                        guard g{no_mask, lock};
                        ++n;
                        return irqreturn::handled;
                      }).value();
  auto device = kthread_run("device", [&] { raise_irq(*line); }).value();
  {
    guard g{irqsave, lock};
    ++n;
  }
  (void)device.join();
}
void driver_with_one_line(benchmark::State& state) {
  model::options o = some(static_cast<model::strategy>(state.range(0)), 5000, 2);
  o.granularity = static_cast<model::granularity>(state.range(1));
  explore(state, o, 0, driver);
}
BENCHMARK(driver_with_one_line)
    ->ArgNames({"strategy", "granularity"})
    ->ArgsProduct({{static_cast<int>(model::strategy::random),
                    static_cast<int>(model::strategy::pct)},
                   {static_cast<int>(model::granularity::user),
                    static_cast<int>(model::granularity::library)}})
    ->Unit(benchmark::kMillisecond);

}  // namespace
