// SPDX-License-Identifier: Apache-2.0

/// Interlock's timeline in memory against Vulkan's timeline semaphore on lavapipe, operation by
/// operation. The rows: rows.toml.

#include "fence_support.hpp"
#include "suite.hpp"
#include "vulkan_peer.hpp"
#include "wake.hpp"

namespace {

namespace il = interlock;
using suite::make_timeline;

void signal(benchmark::State& state) {
  const auto timeline = make_timeline();
  std::uint64_t n = 0;
  suite::in_batches(state, [&] { il::seqno_timeline_advance(*timeline, ++n); });
}
BENCHMARK(signal)->Name("timeline_signal/interlock")->UseManualTime();

void query(benchmark::State& state) {
  const auto timeline = make_timeline();
  suite::in_batches(state, [&] { benchmark::DoNotOptimize(il::seqno_timeline_value(*timeline)); });
}
BENCHMARK(query)->Name("timeline_query/interlock")->UseManualTime();

void wait_satisfied(benchmark::State& state) {
  const auto timeline = make_timeline();
  il::seqno_timeline_advance(*timeline, 1);
  suite::in_batches(state, [&] {
    benchmark::DoNotOptimize(il::seqno_wait_until(*timeline, 1, il::no_deadline));
  });
}
BENCHMARK(wait_satisfied)->Name("timeline_wait_satisfied/interlock")->UseManualTime();

/// A round is the next value of one timeline: to make one, or to unmap its memory in the midst of a
/// wake, is not what is measured.
struct timeline_event {
  static il::seqno_timeline& timeline() {
    static auto* const made = make_timeline().release();
    return *made;
  }
  std::uint64_t value = il::seqno_timeline_value(timeline()) + 1;
  void wait() { (void)il::seqno_wait_until(timeline(), value, il::no_deadline); }
  void signal() { il::seqno_timeline_advance(timeline(), value); }
};
template <class Event>
void wake(benchmark::State& state) {
  suite::wake<Event>(state, 1, 150);
}
BENCHMARK(wake<timeline_event>)->Name("timeline_wake/interlock")->Iterations(1)->UseManualTime();
BENCHMARK(wake<suite::futex_event>)->Name("timeline_wake/floor")->Iterations(1)->UseManualTime();
BENCHMARK(wake<suite::futex_event_watched>)
    ->Name("timeline_wake/floor_with_timeout")
    ->Iterations(1)
    ->UseManualTime();

// --- the floors ----------------------------------------------------------------------------------

struct alignas(64) line {
  std::atomic<std::uint64_t> n{0};
};

/// The store, a full barrier, and a look whether somebody waits: without the barrier a waiter that
/// goes to sleep at that moment would not be seen.
void signal_floor(benchmark::State& state) {
  line word, waiters;
  std::uint64_t n = 0;
  suite::in_batches(state, [&] {
    word.n.store(++n, std::memory_order_release);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    benchmark::DoNotOptimize(waiters.n.load(std::memory_order_relaxed));
  });
}
BENCHMARK(signal_floor)->Name("timeline_signal/floor")->UseManualTime();

void query_floor(benchmark::State& state) {
  line word;
  suite::in_batches(state,
                    [&] { benchmark::DoNotOptimize(word.n.load(std::memory_order_acquire)); });
}
BENCHMARK(query_floor)->Name("timeline_query/floor")->UseManualTime();
BENCHMARK(query_floor)->Name("timeline_wait_satisfied/floor")->UseManualTime();

// --- Vulkan --------------------------------------------------------------------------------------

#if defined(INTERLOCK_BENCH_LIBVULKAN)

void signal_vulkan(benchmark::State& state) {
  if (vulkan::device() == nullptr) return state.SkipWithError(vulkan::missing);
  vulkan::timeline t;
  std::uint64_t n = 0;
  suite::in_batches(state, [&] { t.signal(++n); });
}
BENCHMARK(signal_vulkan)->Name("timeline_signal/vulkan_timeline")->UseManualTime();

void query_vulkan(benchmark::State& state) {
  if (vulkan::device() == nullptr) return state.SkipWithError(vulkan::missing);
  vulkan::timeline t;
  suite::in_batches(state, [&] { benchmark::DoNotOptimize(t.value()); });
}
BENCHMARK(query_vulkan)->Name("timeline_query/vulkan_timeline")->UseManualTime();

void wait_vulkan(benchmark::State& state) {
  if (vulkan::device() == nullptr) return state.SkipWithError(vulkan::missing);
  vulkan::timeline t;
  t.signal(1);
  suite::in_batches(state, [&] { benchmark::DoNotOptimize(t.wait(1)); });
}
BENCHMARK(wait_vulkan)->Name("timeline_wait_satisfied/vulkan_timeline")->UseManualTime();

struct vulkan_event {
  static vulkan::timeline& timeline() {
    static auto* const made = new vulkan::timeline;
    return *made;
  }
  std::uint64_t value = timeline().value() + 1;
  void wait() { timeline().wait(value); }
  void signal() { timeline().signal(value); }
};
void wake_vulkan(benchmark::State& state) {
  if (vulkan::device() == nullptr) return state.SkipWithError(vulkan::missing);
  wake<vulkan_event>(state);
}
BENCHMARK(wake_vulkan)->Name("timeline_wake/vulkan_timeline")->Iterations(1)->UseManualTime();

#endif

}  // namespace

BENCHMARK_MAIN();
