// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What the programs of the suite share: clocks, distributions as counters, a start line for
/// threads. How rows are made of benchmarks: README.md.

#include <benchmark/benchmark.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace suite {

inline std::int64_t clock_ns(clockid_t clock = CLOCK_MONOTONIC) noexcept {
  timespec t;
  clock_gettime(clock, &t);
  return t.tv_sec * 1'000'000'000 + t.tv_nsec;
}

/// `./dev bench --long`: rows that are cut short otherwise take the time that they are meant to.
inline bool full_length() noexcept { return std::getenv("INTERLOCK_BENCH_LONG") != nullptr; }

/// Samples in nanoseconds; their quantiles become counters of the benchmark, which the page draws
/// as a distribution: q1 to q99.9, and max. Of several threads each has its own, and the average
/// is told.
class distribution {
 public:
  explicit distribution(std::size_t expected = 1 << 12) { samples_.reserve(expected); }
  void add(double ns) { samples_.push_back(ns); }
  void add_all(const distribution& other) {
    samples_.insert(samples_.end(), other.samples_.begin(), other.samples_.end());
  }
  [[nodiscard]] std::size_t size() const noexcept { return samples_.size(); }

  [[nodiscard]] double median() {
    std::sort(samples_.begin(), samples_.end());
    return samples_.empty() ? 0 : at(50);
  }

  void report(benchmark::State& state) {
    if (samples_.empty()) return;
    std::sort(samples_.begin(), samples_.end());
    constexpr double quantiles[] = {1, 5, 10, 25, 50, 75, 90, 95, 99, 99.9};
    for (const double q : quantiles) {
      char name[16];
      std::snprintf(name, sizeof name, "q%g", q);
      // One of few samples says nothing of the rare ones.
      if (q > 50 && static_cast<double>(samples_.size()) * (100 - q) < 100) break;
      state.counters[name] = {at(q), benchmark::Counter::kAvgThreads};
    }
    state.counters["max"] = {samples_.back(), benchmark::Counter::kAvgThreads};
  }

 private:
  [[nodiscard]] double at(double q) const {
    const auto i = static_cast<std::size_t>(q / 100 * static_cast<double>(samples_.size()));
    return samples_[std::min(i, samples_.size() - 1)];
  }
  std::vector<double> samples_;
};

/// `act()` again and again, each timed by the wall: for what takes a microsecond and more, since
/// reading the clock takes some ten nanoseconds. Not less than 10, not more than `count`, about
/// `seconds` long.
template <class Act>
void sample(distribution& into, Act act, std::size_t count = 20'000, double seconds = 0.03) {
  const std::int64_t end = clock_ns() + static_cast<std::int64_t>(seconds * 1e9);
  for (std::size_t i = 0; i < count; ++i) {
    const std::int64_t begin = clock_ns();
    act();
    const std::int64_t done = clock_ns();
    into.add(static_cast<double>(done - begin));
    if (i >= 10 && done > end) break;
  }
}

/// `act(object)` on each of a batch of fresh objects, which stay in the first-level cache; only
/// that is timed. The measure is q50, over the batches: one that was interrupted does not count.
/// With UseManualTime().
template <std::size_t batch = 256, class Make, class Act>
void on_fresh(benchmark::State& state, Make make, Act act) {
  using object = decltype(make());
  std::vector<object> objects;
  objects.reserve(batch);
  distribution per_object;
  while (state.KeepRunningBatch(batch)) {
    objects.clear();
    for (std::size_t i = 0; i < batch; ++i) objects.push_back(make());
    const std::int64_t begin = clock_ns();
    for (object& o : objects) act(o);
    const std::int64_t spent = clock_ns() - begin;
    state.SetIterationTime(static_cast<double>(spent) * 1e-9);
    per_object.add(static_cast<double>(spent) / static_cast<double>(batch));
  }
  per_object.report(state);
}

/// `act()` in batches: as on_fresh, where nothing has to be made.
template <std::size_t batch = 256, class Act>
void in_batches(benchmark::State& state, Act act) {
  distribution per_call;
  while (state.KeepRunningBatch(batch)) {
    const std::int64_t begin = clock_ns();
    for (std::size_t i = 0; i < batch; ++i) act();
    const std::int64_t spent = clock_ns() - begin;
    state.SetIterationTime(static_cast<double>(spent) * 1e-9);
    per_call.add(static_cast<double>(spent) / static_cast<double>(batch));
  }
  per_call.report(state);
}

}  // namespace suite
