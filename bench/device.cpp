// SPDX-License-Identifier: Apache-2.0

/// From one device to the next: the second waits in memory by itself, or is told through the CPU.
/// The row: rows.toml.
///
/// Two software devices on two CPUs take turns: each job waits for the other device's last one.

#include <string>

#include "fence_support.hpp"
#include "interlock/device/provider.hpp"
#include "suite.hpp"
#include "wake.hpp"

#if defined(INTERLOCK_HAS_ENGINE)

namespace {

namespace il = interlock;

constexpr std::size_t links = 200;

/// Its thread stays on that CPU: it inherits where the caller may run.
std::unique_ptr<il::device_queue> open_on(int cpu, const char* name, il::link_mode link) {
  const suite::pinned here{cpu};
  il::device_queue_options options;
  options.name = name;
  options.ring_size = 2 * links;
  options.link = link;
  return std::move(*il::engine_provider().open(options));
}

struct pair_of_devices {
  std::vector<il::job> jobs = std::vector<il::job>(links);  // outlive the queues
  std::unique_ptr<il::device_queue> queues[2];

  explicit pair_of_devices(il::link_mode link)
      : queues{open_on(0, "bench-device-0", link), open_on(1, "bench-device-1", link)} {}

  [[nodiscard]] il::device_queue_statistics counts() const {
    il::device_queue_statistics sum;
    for (const auto& q : queues) {
      const il::device_queue_statistics s = q->statistics();
      sum.wakes += s.wakes;
      sum.interrupts += s.interrupts;
      sum.memory_waits += s.memory_waits;
    }
    return sum;
  }
};

/// All jobs are queued, and the first waits for a fence that this thread signals.
void run_linked(pair_of_devices& devices, suite::distribution& per_link) {
  const auto start = suite::make_fence();
  il::ref_ptr<il::dma_fence> last = start;
  for (std::size_t i = 0; i < links; ++i) {
    il::job& j = devices.jobs[i];
    j.waits[0] = std::move(last);
    last = devices.queues[i % 2]->submit(j).value();
  }
  const std::int64_t begin = suite::clock_ns();
  start->signal();
  last->wait();
  per_link.add(static_cast<double>(suite::clock_ns() - begin) / links);
}

/// This thread waits for each job, then submits the next.
void run_by_submitter(pair_of_devices& devices, suite::distribution& per_link) {
  const std::int64_t begin = suite::clock_ns();
  for (std::size_t i = 0; i < links; ++i) {
    devices.queues[i % 2]->submit(devices.jobs[i]).value()->wait();
  }
  per_link.add(static_cast<double>(suite::clock_ns() - begin) / links);
}

void run(benchmark::State& state, il::link_mode link,
         void (*once)(pair_of_devices&, suite::distribution&)) {
  const il::provider_probe found = il::engine_provider().probe();
  if (!found.available) return state.SkipWithError(found.detail);
  constexpr std::size_t rounds = 8;
  for (auto _ : state) {
    pair_of_devices devices{link};
    suite::distribution warm, per_link;
    once(devices, warm);
    const il::device_queue_statistics before = devices.counts();
    const std::int64_t cpu = suite::clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    for (std::size_t r = 0; r < rounds; ++r) once(devices, per_link);
    const auto spent = static_cast<double>(suite::clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu);
    const il::device_queue_statistics after = devices.counts();
    constexpr double all = static_cast<double>(links * rounds);
    state.SetIterationTime(1e-3);
    per_link.report(state);
    state.counters["wakes"] = static_cast<double>(after.wakes - before.wakes) / all;
    state.counters["interrupts"] = static_cast<double>(after.interrupts - before.interrupts) / all;
    state.counters["cpu_each"] = spent / all;
  }
}
BENCHMARK_CAPTURE(run, memory, il::link_mode::memory, run_linked)
    ->Name("device_link/interlock")
    ->Iterations(1)
    ->UseManualTime();
BENCHMARK_CAPTURE(run, callback, il::link_mode::callback, run_linked)
    ->Name("device_link/callback_through_cpu")
    ->Iterations(1)
    ->UseManualTime();
BENCHMARK_CAPTURE(run, submitter, il::link_mode::memory, run_by_submitter)
    ->Name("device_link/submitter_waits")
    ->Iterations(1)
    ->UseManualTime();

/// Two threads that hand over by a futex, in place of devices: what it takes where each sleeps.
void run_floor(benchmark::State& state) {
  constexpr std::size_t rounds = 8 * links;
  for (auto _ : state) {
    std::vector<suite::futex_event> events(rounds);
    std::thread other{[&] {
      const suite::pinned here{1};
      for (std::size_t i = 0; i + 1 < rounds; i += 2) {
        events[i].wait();
        events[i + 1].signal();
      }
    }};
    suite::distribution per_link;
    const std::int64_t cpu = suite::clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    {
      const suite::pinned here{0};
      for (std::size_t r = 0; r < rounds; r += links) {
        const std::int64_t begin = suite::clock_ns();
        for (std::size_t i = r; i < r + links; i += 2) {
          events[i].signal();
          events[i + 1].wait();
        }
        per_link.add(static_cast<double>(suite::clock_ns() - begin) / links);
      }
    }
    other.join();
    const auto spent = static_cast<double>(suite::clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu);
    state.SetIterationTime(1e-3);
    per_link.report(state);
    state.counters["cpu_each"] = spent / static_cast<double>(rounds);
  }
}
BENCHMARK(run_floor)->Name("device_link/floor")->Iterations(1)->UseManualTime();

}  // namespace

#endif

BENCHMARK_MAIN();
