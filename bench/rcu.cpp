// SPDX-License-Identifier: Apache-2.0

/// What RCU costs its readers and its updaters, against its peers, all inlined.
///
///   read                  lock, dereference, read, unlock; per pair, and with two threads
///   synchronize/idle      nobody reads
///   synchronize/reader    one thread reads without end
///   defer                 allocate, queue, free after a grace period; per object, the last one's
///                         end included; the CPU time is that of all threads
///   defer_barrier         the latency of one deferred object and a barrier
///
///   bench_rcu --benchmark_filter=synchronize

#include <benchmark/benchmark.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "interlock/rcupdate.hpp"
#include "rcu_peers.h"

namespace {

namespace il = interlock;

constexpr unsigned long batch = 1000;
constexpr unsigned long deferred = 20'000;

unsigned long value = 1;
constinit il::rcu_pointer<unsigned long> interlock_pointer{&value};
const unsigned long* const plain_pointer = &value;

struct object {
  il::rcu_head rcu;
  unsigned long payload;
};

void nothing() {}

unsigned long interlock_read(unsigned long count, const unsigned long* const*) {
  unsigned long sum = 0;
  for (unsigned long i = 0; i < count; ++i) {
    const il::guard g{il::rcu};
    sum += *il::rcu_dereference(interlock_pointer);
  }
  return sum;
}
/// As the peers do it: a pointer to free() as the callback, one indirect call an object.
void interlock_defer(unsigned long count) {
  for (unsigned long i = 0; i < count; ++i) {
    auto* const o = static_cast<object*>(std::malloc(sizeof(object)));
    il::call_rcu(o->rcu, [](il::rcu_head* head) { std::free(head); });
  }
}
void interlock_free(unsigned long count) {
  for (unsigned long i = 0; i < count; ++i) {
    auto* const o = static_cast<object*>(std::malloc(sizeof(object)));
    il::free_rcu(o->rcu, o);
  }
}
void interlock_synchronize() { il::synchronize_rcu(); }
void interlock_expedited() { il::synchronize_rcu_expedited(); }
void interlock_barrier() { il::rcu_barrier(); }

const rcu_peer interlock_peer{
    "interlock",           nothing,         nothing,          interlock_read,
    interlock_synchronize, interlock_defer, interlock_barrier};
const rcu_peer interlock_expedited_peer{
    "interlock_expedited", nothing,         nothing,          interlock_read,
    interlock_expedited,   interlock_defer, interlock_barrier};
const rcu_peer interlock_free_rcu{
    "interlock_free_rcu",  nothing,        nothing,          interlock_read,
    interlock_synchronize, interlock_free, interlock_barrier};

void read_pairs(benchmark::State& state, const rcu_peer* peer) {
  peer->enter_thread();
  unsigned long sum = 0;
  while (state.KeepRunningBatch(batch)) sum += peer->read(batch, &plain_pointer);
  benchmark::DoNotOptimize(sum);
  peer->leave_thread();
}

/// Median and tail, because a mean hides the slow mode of whoever sleeps.
void synchronize(benchmark::State& state, const rcu_peer* peer, bool with_reader) {
  peer->enter_thread();
  std::atomic<bool> stop{false}, reads{false};
  std::thread reader;
  if (with_reader) {
    reader = std::thread{[&] {
      peer->enter_thread();
      while (!stop.load(std::memory_order_relaxed)) {
        benchmark::DoNotOptimize(peer->read(100, &plain_pointer));
        reads.store(true, std::memory_order_relaxed);
      }
      peer->leave_thread();
    }};
    while (!reads.load(std::memory_order_relaxed)) std::this_thread::yield();
  }
  std::vector<double> us;
  us.reserve(1 << 20);
  for (auto _ : state) {
    const auto start = std::chrono::steady_clock::now();
    peer->synchronize();
    const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - start;
    us.push_back(took.count());
  }
  stop.store(true, std::memory_order_relaxed);
  if (reader.joinable()) reader.join();
  peer->leave_thread();
  std::sort(us.begin(), us.end());
  state.counters["p50_us"] = us[us.size() / 2];
  state.counters["p99_us"] = us[us.size() * 99 / 100];
}

void defer(benchmark::State& state, const rcu_peer* peer) {
  peer->enter_thread();
  for (auto _ : state) {
    peer->defer(deferred);
    peer->barrier();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(deferred));
  state.counters["per_object"] = benchmark::Counter(
      static_cast<double>(deferred),
      benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
  peer->leave_thread();
}

void defer_barrier(benchmark::State& state, const rcu_peer* peer) {
  peer->enter_thread();
  for (auto _ : state) {
    peer->defer(1);
    peer->barrier();
  }
  peer->leave_thread();
}

template <class Function, class... Arguments>
benchmark::internal::Benchmark* add(const char* what, const rcu_peer* peer, Function function,
                                    Arguments... arguments) {
  const std::string name = std::string{what} + '/' + peer->name;
  return benchmark::RegisterBenchmark(name.c_str(), function, peer, arguments...)->UseRealTime();
}

void add_all() {
  std::vector<const rcu_peer*> peers{&interlock_peer};
  for (const rcu_peer* const* p = rcu_peers; *p != nullptr; ++p) peers.push_back(*p);
  for (const rcu_peer* p : peers) add("read", p, read_pairs)->Threads(1)->Threads(2);
  for (const rcu_peer* p : peers) add("synchronize/idle", p, synchronize, false);
  for (const rcu_peer* p : peers) add("synchronize/reader", p, synchronize, true);
  add("synchronize/reader", &interlock_expedited_peer, synchronize, true);
  for (const rcu_peer* p : peers)
    add("defer", p, defer)->Unit(benchmark::kMicrosecond)->MeasureProcessCPUTime();
  add("defer", &interlock_free_rcu, defer)->Unit(benchmark::kMicrosecond)->MeasureProcessCPUTime();
  for (const rcu_peer* p : peers) add("defer_barrier", p, defer_barrier);
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  add_all();
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
