// SPDX-License-Identifier: Apache-2.0

/// What a fence costs on one thread, against what C++, Abseil and Vulkan offer, and against the bare
/// machine. The rows: rows.toml. Waiters: fence_many.cpp, wake.cpp; Vulkan's timelines: timeline.cpp.
///
///   bench_fence --benchmark_filter=fence_signal

#include <chrono>
#include <future>
#include <memory>
#include <semaphore>

#include "fence_support.hpp"
#include "interlock/rcupdate.hpp"
#include "suite.hpp"
#include "vulkan_peer.hpp"

#if defined(INTERLOCK_BENCH_LIBABSL)
#include <absl/synchronization/mutex.h>
#include <absl/synchronization/notification.h>
#endif

namespace {

namespace il = interlock;
using suite::make_fence;
using suite::make_timeline;

// --- life ----------------------------------------------------------------------------------------

/// Batches, each with what it leaves to other threads: fences are freed after a grace period. The
/// CPU time is that of the whole process.
constexpr std::size_t lives = 20'000;

template <class One, class Drain>
void live(benchmark::State& state, One one, Drain drain) {
  while (state.KeepRunningBatch(lives)) {
    for (std::size_t i = 0; i < lives; ++i) one();
    drain();
  }
}
void nothing() {}

void life(benchmark::State& state) {
  live(
      state, [] { make_fence()->signal(); }, [] { il::rcu_barrier(); });
}
BENCHMARK(life)->Name("fence_life/interlock")->MeasureProcessCPUTime();

void life_promise(benchmark::State& state) {
  live(
      state,
      [] {
        std::promise<void> p;
        const std::future<void> f = p.get_future();
        p.set_value();
        f.wait();
      },
      nothing);
}
BENCHMARK(life_promise)->Name("fence_life/std_promise")->MeasureProcessCPUTime();

/// One allocation, then a reference taken, the signal, and the reference dropped.
struct floor_fence {
  std::atomic<unsigned> references{1};
  std::atomic<unsigned> flags{0};
};

void life_floor(benchmark::State& state) {
  live(
      state,
      [] {
        auto* const f = new (std::malloc(sizeof(il::dma_fence))) floor_fence;
        benchmark::DoNotOptimize(f);
        f->references.fetch_add(1, std::memory_order_relaxed);
        f->flags.fetch_or(1, std::memory_order_acq_rel);
        if (f->references.fetch_sub(2, std::memory_order_acq_rel) == 2) std::free(f);
      },
      nothing);
}
BENCHMARK(life_floor)->Name("fence_life/floor")->MeasureProcessCPUTime();

/// The same where a batch of them is alive before the first is freed: what memory costs that does
/// not come back at once.
void life_floor_batch(benchmark::State& state) {
  std::vector<floor_fence*> alive;
  alive.reserve(lives);
  live(
      state,
      [&] {
        auto* const f = new (std::malloc(sizeof(il::dma_fence))) floor_fence;
        f->references.fetch_add(1, std::memory_order_relaxed);
        f->flags.fetch_or(1, std::memory_order_acq_rel);
        f->references.fetch_sub(2, std::memory_order_acq_rel);
        alive.push_back(f);
      },
      [&] {
        for (floor_fence* const f : alive) std::free(f);
        alive.clear();
      });
}
BENCHMARK(life_floor_batch)->Name("fence_life/floor_freed_later")->MeasureProcessCPUTime();

// --- signal, test --------------------------------------------------------------------------------

void signal(benchmark::State& state) {
  suite::on_fresh(
      state, [] { return make_fence(); }, [](auto& fence) { fence->signal(); });
}
BENCHMARK(signal)->Name("fence_signal/interlock")->UseManualTime();

struct alignas(64) word_of_its_own {
  std::atomic<unsigned> flags{0};
};
std::unique_ptr<word_of_its_own> make_word() { return std::make_unique<word_of_its_own>(); }

void signal_floor(benchmark::State& state) {
  suite::on_fresh(state, make_word,
                  [](auto& w) { w->flags.fetch_or(1, std::memory_order_acq_rel); });
}
BENCHMARK(signal_floor)->Name("fence_signal/floor")->UseManualTime();

void signal_promise(benchmark::State& state) {
  suite::on_fresh(
      state, [] { return std::promise<void>{}; }, [](auto& p) { p.set_value(); });
}
BENCHMARK(signal_promise)->Name("fence_signal/std_promise")->UseManualTime();

void signal_semaphore(benchmark::State& state) {
  suite::on_fresh(
      state, [] { return std::make_unique<std::binary_semaphore>(0); },
      [](auto& s) { s->release(); });
}
BENCHMARK(signal_semaphore)->Name("fence_signal/std_binary_semaphore")->UseManualTime();

void signal_timestamp(benchmark::State& state) {
  suite::on_fresh(
      state, [] { return make_fence(il::dma_fence_flag::want_timestamp); },
      [](auto& fence) { fence->signal(); });
}
BENCHMARK(signal_timestamp)->Name("fence_signal_timestamp/interlock")->UseManualTime();

void signal_timestamp_floor(benchmark::State& state) {
  suite::on_fresh(state, make_word, [](auto& w) {
    benchmark::DoNotOptimize(suite::clock_ns());
    w->flags.fetch_or(1, std::memory_order_acq_rel);
  });
}
BENCHMARK(signal_timestamp_floor)->Name("fence_signal_timestamp/floor")->UseManualTime();

void test(benchmark::State& state) {
  const auto fence = make_fence();
  fence->signal();
  suite::in_batches(state, [&] { benchmark::DoNotOptimize(fence->is_signaled()); });
}
BENCHMARK(test)->Name("fence_test/interlock")->UseManualTime();

void test_pending(benchmark::State& state) {
  const auto fence = make_fence();
  suite::in_batches(state, [&] { benchmark::DoNotOptimize(fence->is_signaled()); });
  fence->signal();
}
BENCHMARK(test_pending)->Name("fence_test/interlock_pending")->UseManualTime();

void test_floor(benchmark::State& state) {
  const auto word = make_word();
  word->flags.store(1);
  suite::in_batches(state, [&] {
    benchmark::DoNotOptimize((word->flags.load(std::memory_order_acquire) & 1) != 0);
  });
}
BENCHMARK(test_floor)->Name("fence_test/floor")->UseManualTime();

void test_future(benchmark::State& state) {
  std::promise<void> p;
  const std::future<void> f = p.get_future();
  p.set_value();
  suite::in_batches(state, [&] { benchmark::DoNotOptimize(f.wait_for(std::chrono::seconds{0})); });
}
BENCHMARK(test_future)->Name("fence_test/std_future")->UseManualTime();

// --- Abseil --------------------------------------------------------------------------------------

#if defined(INTERLOCK_BENCH_LIBABSL)

/// As Debian packages it, Abseil looks for deadlocks at every lock; a program may switch that off.
void choose(bool detection) {
  absl::SetMutexDeadlockDetectionMode(detection ? absl::OnDeadlockCycle::kReport
                                                : absl::OnDeadlockCycle::kIgnore);
}

void life_notification(benchmark::State& state, bool detection) {
  choose(detection);
  live(
      state,
      [] {
        absl::Notification n;
        n.Notify();
        n.WaitForNotification();
      },
      nothing);
}
BENCHMARK_CAPTURE(life_notification, on, true)
    ->Name("fence_life/absl_notification_detection")
    ->MeasureProcessCPUTime();
BENCHMARK_CAPTURE(life_notification, off, false)
    ->Name("fence_life/absl_notification")
    ->MeasureProcessCPUTime();

/// With an allocation and a count of references, as a fence has.
void life_shared_notification(benchmark::State& state) {
  choose(false);
  live(
      state,
      [] {
        const auto n = std::make_shared<absl::Notification>();
        n->Notify();
      },
      nothing);
}
BENCHMARK(life_shared_notification)
    ->Name("fence_life/absl_notification_shared")
    ->MeasureProcessCPUTime();

void signal_notification(benchmark::State& state, bool detection) {
  choose(detection);
  suite::on_fresh(
      state, [] { return std::make_unique<absl::Notification>(); }, [](auto& n) { n->Notify(); });
}
BENCHMARK_CAPTURE(signal_notification, on, true)
    ->Name("fence_signal/absl_notification_detection")
    ->UseManualTime();
BENCHMARK_CAPTURE(signal_notification, off, false)
    ->Name("fence_signal/absl_notification")
    ->UseManualTime();

void test_notification(benchmark::State& state) {
  absl::Notification n;
  n.Notify();
  suite::in_batches(state, [&] { benchmark::DoNotOptimize(n.HasBeenNotified()); });
}
BENCHMARK(test_notification)->Name("fence_test/absl_notification")->UseManualTime();

#endif

// --- Vulkan --------------------------------------------------------------------------------------

#if defined(INTERLOCK_BENCH_LIBVULKAN)

void life_vulkan(benchmark::State& state) {
  if (vulkan::device() == nullptr) return state.SkipWithError(vulkan::missing);
  live(
      state,
      [] {
        vulkan::timeline t;
        t.signal(1);
        t.wait(1);
      },
      nothing);
}
BENCHMARK(life_vulkan)->Name("fence_life/vulkan_timeline")->MeasureProcessCPUTime();

void signal_vulkan(benchmark::State& state) {
  if (vulkan::device() == nullptr) return state.SkipWithError(vulkan::missing);
  suite::on_fresh(
      state, [] { return std::make_unique<vulkan::timeline>(); }, [](auto& t) { t->signal(1); });
}
BENCHMARK(signal_vulkan)->Name("fence_signal/vulkan_timeline")->UseManualTime();

void test_vulkan(benchmark::State& state) {
  if (vulkan::device() == nullptr) return state.SkipWithError(vulkan::missing);
  vulkan::timeline t;
  t.signal(1);
  suite::in_batches(state, [&] { benchmark::DoNotOptimize(t.value() >= 1); });
}
BENCHMARK(test_vulkan)->Name("fence_test/vulkan_timeline")->UseManualTime();

#endif

// --- callbacks -----------------------------------------------------------------------------------

void callback(benchmark::State& state) {
  std::vector<il::dma_fence_cb> cbs(256);
  std::size_t next = 0;
  suite::on_fresh(
      state, [] { return make_fence(); },
      [&](auto& fence) {
        il::dma_fence_cb& cb = cbs[next++ % 256];
        (void)fence->add_callback(cb, [](il::dma_fence*, il::dma_fence_cb*) {});
        fence->signal();
      });
}
BENCHMARK(callback)->Name("fence_callback/interlock")->UseManualTime();

/// Two locked operations, one to queue and one to signal, and a virtual call.
struct floor_callback {
  virtual ~floor_callback() = default;
  virtual void call() noexcept = 0;
  std::atomic<unsigned> list{0};
  std::atomic<unsigned> flags{0};
};
struct floor_callback_nothing final : floor_callback {
  void call() noexcept override { benchmark::ClobberMemory(); }
};

std::unique_ptr<floor_callback> make_floor_callback() {
  std::unique_ptr<floor_callback> made = std::make_unique<floor_callback_nothing>();
  benchmark::DoNotOptimize(made);
  return made;
}

void callback_floor(benchmark::State& state) {
  suite::on_fresh(state, make_floor_callback, [](auto& c) {
    c->list.exchange(1, std::memory_order_acq_rel);
    c->flags.fetch_or(1, std::memory_order_acq_rel);
    c->call();
  });
}
BENCHMARK(callback_floor)->Name("fence_callback/floor")->UseManualTime();

/// Whoever adds a callback also gets the time of the signal: the floor with one clock read.
void callback_floor_clock(benchmark::State& state) {
  suite::on_fresh(state, make_floor_callback, [](auto& c) {
    c->list.exchange(1, std::memory_order_acq_rel);
    benchmark::DoNotOptimize(suite::clock_ns());
    c->flags.fetch_or(1, std::memory_order_acq_rel);
    c->call();
  });
}
BENCHMARK(callback_floor_clock)->Name("fence_callback/floor_with_clock")->UseManualTime();

// --- timelines -----------------------------------------------------------------------------------

constexpr std::uint64_t million = 1'000'000;

struct outstanding {
  il::ref_ptr<il::seqno_timeline> timeline = make_timeline();
  std::vector<il::ref_ptr<il::dma_fence>> fences;
  std::uint64_t next = 0;

  explicit outstanding(std::uint64_t count) {
    fences.reserve(count);
    while (next < count) fences.push_back(il::make_seqno_fence(*timeline, ++next).value());
  }
};

/// A word that goes back and forth: one store passes all the fences, the next one none. Nobody has
/// seen them done, so they stay outstanding. Made once: a million takes a while.
outstanding& many() {
  static auto* const made = new outstanding{million};
  return *made;
}
outstanding& none() {
  static auto* const made = new outstanding{0};
  return *made;
}

void pass(benchmark::State& state, outstanding& (*of)()) {
  il::seqno_timeline& timeline = *of().timeline;
  std::uint64_t value = 0;
  suite::in_batches(state, [&] {
    value = million - value;
    benchmark::DoNotOptimize(il::seqno_timeline_advance(timeline, value));
  });
  il::seqno_timeline_advance(timeline, 0);
}
BENCHMARK_CAPTURE(pass, many, many)->Name("seqno_pass/interlock")->UseManualTime();
BENCHMARK_CAPTURE(pass, none, none)->Name("seqno_pass/interlock_none")->UseManualTime();

/// The store, a full barrier, and a look whether somebody waits.
void pass_floor(benchmark::State& state) {
  const auto word = make_word(), waiters = make_word();
  unsigned value = 0;
  suite::in_batches(state, [&] {
    word->flags.store(++value, std::memory_order_release);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    benchmark::DoNotOptimize(waiters->flags.load(std::memory_order_relaxed));
  });
}
BENCHMARK(pass_floor)->Name("seqno_pass/floor")->UseManualTime();

/// `armed` fences beyond the outstanding ones; only the store and the signalling is timed.
void armed(benchmark::State& state, outstanding& (*of)(), std::size_t armed) {
  outstanding& all = of();
  suite::distribution per_fence;
  std::uint64_t seqno = 2 * million;
  std::vector<il::ref_ptr<il::dma_fence>> fences;
  fences.reserve(armed);
  while (state.KeepRunningBatch(static_cast<benchmark::IterationCount>(armed))) {
    fences.clear();
    for (std::size_t i = 0; i < armed; ++i) {
      fences.push_back(il::make_seqno_fence(*all.timeline, ++seqno).value());
      fences.back()->enable_sw_signaling();
    }
    const std::int64_t begin = suite::clock_ns();
    il::seqno_timeline_advance(*all.timeline, seqno);
    const std::size_t signalled = il::seqno_timeline_process(*all.timeline);
    const std::int64_t spent = suite::clock_ns() - begin;
    if (signalled != armed) return state.SkipWithError("not all armed fences were signalled");
    state.SetIterationTime(static_cast<double>(spent) * 1e-9);
    per_fence.add(static_cast<double>(spent) / static_cast<double>(armed));
    il::seqno_timeline_advance(*all.timeline, 0);
  }
  per_fence.report(state);
}
BENCHMARK_CAPTURE(armed, many_1000, many, 1000)->Name("seqno_armed/interlock")->UseManualTime();
BENCHMARK_CAPTURE(armed, none_1000, none, 1000)
    ->Name("seqno_armed/interlock_none_outstanding")
    ->UseManualTime();
BENCHMARK_CAPTURE(armed, many_100, many, 100)
    ->Name("seqno_armed/interlock_100_armed")
    ->UseManualTime();

/// One locked operation and a clock read on each of 1,000.
void armed_floor(benchmark::State& state) {
  suite::on_fresh<1000>(state, make_word, [](auto& w) {
    benchmark::DoNotOptimize(suite::clock_ns());
    w->flags.fetch_or(1, std::memory_order_acq_rel);
  });
}
BENCHMARK(armed_floor)->Name("seqno_armed/floor")->UseManualTime();

void seqno_life(benchmark::State& state) {
  const auto timeline = make_timeline();
  std::uint64_t n = 0;
  live(
      state, [&] { (void)il::make_seqno_fence(*timeline, ++n).value(); },
      [] { il::rcu_barrier(); });
}
BENCHMARK(seqno_life)->Name("seqno_life/interlock")->MeasureProcessCPUTime();
BENCHMARK(life_floor)->Name("seqno_life/floor")->MeasureProcessCPUTime();
BENCHMARK(life_promise)->Name("seqno_life/std_promise")->MeasureProcessCPUTime();

}  // namespace

BENCHMARK_MAIN();
