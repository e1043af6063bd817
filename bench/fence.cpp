// SPDX-License-Identifier: Apache-2.0

/// What a fence costs, against what C++ and the system offer.
///
///   life        create, signal, release; of one thread
///   life_waited the same with a wait that finds it done
///   signal      without a waiter
///   test        is it done
///   callback    add a callback, signal
///   seqno       make a fence of a timeline and release it; store a word; arm, store, process
///   wake        from the signal to the waiter's return, the waiter parked; median, and what the
///               signaller spends
///
///   bench_fence --benchmark_filter=wake

#include <benchmark/benchmark.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <future>
#include <new>
#include <optional>
#include <semaphore>
#include <thread>
#include <vector>

#include "interlock/seqno_fence.hpp"

namespace {

namespace il = interlock;

constexpr std::size_t batch = 1000;

const char* name_of(il::dma_fence*) { return "bench"; }
constexpr il::dma_fence_ops fence_ops{name_of, name_of, nullptr, nullptr,
                                      nullptr, nullptr, nullptr};

const char* timeline_name_of(il::seqno_timeline*) { return "bench"; }
bool arm(il::seqno_timeline*) { return true; }
constexpr il::seqno_timeline_ops timeline_ops{timeline_name_of, timeline_name_of, arm,    nullptr,
                                              nullptr,          nullptr,          nullptr};

il::ref_ptr<il::dma_fence> make_fence(std::uint64_t seqno = 1) {
  void* const memory = std::malloc(sizeof(il::dma_fence));
  return il::ref_ptr<il::dma_fence>::adopt(new (memory) il::dma_fence{fence_ops, 1, seqno});
}

// --- life ----------------------------------------------------------------------------------------

/// One thread's CPU time: the machine may be shared, and memory is freed by another thread.
void life(benchmark::State& state) {
  for (auto _ : state) make_fence()->signal();
}
BENCHMARK(life)->Name("life/interlock");

void life_waited(benchmark::State& state) {
  for (auto _ : state) {
    const auto fence = make_fence();
    fence->signal();
    fence->wait();
  }
}
BENCHMARK(life_waited)->Name("life_waited/interlock");

void life_promise(benchmark::State& state) {
  for (auto _ : state) {
    std::promise<void> p;
    p.set_value();
    p.get_future().wait();
  }
}
BENCHMARK(life_promise)->Name("life_waited/std_promise");

void life_semaphore(benchmark::State& state) {
  for (auto _ : state) {
    std::binary_semaphore s{0};
    s.release();
    s.acquire();
  }
}
BENCHMARK(life_semaphore)->Name("life_waited/std_semaphore_on_stack");

/// The floor of what is counted and allocated: no callbacks, no order, no readers.
void life_floor(benchmark::State& state) {
  struct counted {
    std::atomic<unsigned> count{1};
    std::atomic<unsigned> done{0};
  };
  for (auto _ : state) {
    auto* const c = new (std::malloc(64)) counted;
    benchmark::DoNotOptimize(c);
    c->done.exchange(1, std::memory_order_acq_rel);
    if (c->count.fetch_sub(1, std::memory_order_acq_rel) == 1) std::free(c);
  }
}
BENCHMARK(life_floor)->Name("life/floor");

// --- signal, test --------------------------------------------------------------------------------

/// `act` on each of a batch of fresh objects; only that is timed.
template <class Make, class Act>
void on_fresh(benchmark::State& state, Make make, Act act) {
  using object = decltype(make());
  std::vector<object> objects;
  objects.reserve(batch);
  while (state.KeepRunningBatch(batch)) {
    state.PauseTiming();
    objects.clear();
    for (std::size_t i = 0; i < batch; ++i) objects.push_back(make());
    state.ResumeTiming();
    for (object& o : objects) act(o);
  }
}

void signal(benchmark::State& state) {
  on_fresh(
      state, [] { return make_fence(); }, [](auto& fence) { fence->signal(); });
}
BENCHMARK(signal)->Name("signal/interlock");

void signal_promise(benchmark::State& state) {
  on_fresh(
      state, [] { return std::promise<void>{}; }, [](auto& p) { p.set_value(); });
}
BENCHMARK(signal_promise)->Name("signal/std_promise");

void signal_semaphore(benchmark::State& state) {
  std::binary_semaphore s{0};
  for (auto _ : state) {
    s.release();
    (void)s.try_acquire();
  }
}
BENCHMARK(signal_semaphore)->Name("signal/std_semaphore_and_try");

void test(benchmark::State& state) {
  const auto fence = make_fence();
  fence->signal();
  for (auto _ : state) benchmark::DoNotOptimize(fence->is_signaled());
}
BENCHMARK(test)->Name("test/interlock_done");

void test_pending(benchmark::State& state) {
  const auto fence = make_fence();
  for (auto _ : state) benchmark::DoNotOptimize(fence->is_signaled());
  fence->signal();
}
BENCHMARK(test_pending)->Name("test/interlock_pending");

void test_future(benchmark::State& state) {
  std::promise<void> p;
  const std::future<void> f = p.get_future();
  p.set_value();
  for (auto _ : state) benchmark::DoNotOptimize(f.wait_for(std::chrono::seconds{0}));
}
BENCHMARK(test_future)->Name("test/std_future_done");

void callback(benchmark::State& state) {
  std::vector<il::dma_fence_cb> cbs(batch);
  std::size_t next = 0;
  on_fresh(
      state, [] { return make_fence(); },
      [&](auto& fence) {
        il::dma_fence_cb& cb = cbs[next++ % batch];
        (void)fence->add_callback(cb, [](il::dma_fence*, il::dma_fence_cb*) {});
        fence->signal();
      });
}
BENCHMARK(callback)->Name("callback/interlock");

// --- timelines -----------------------------------------------------------------------------------

il::ref_ptr<il::seqno_timeline> make_timeline() {
  return il::make_seqno_timeline(timeline_ops, nullptr, il::make_seqno_buffer(1).value(), 0)
      .value();
}

void seqno_life(benchmark::State& state) {
  const auto timeline = make_timeline();
  std::uint64_t n = 0;
  for (auto _ : state) benchmark::DoNotOptimize(il::make_seqno_fence(*timeline, ++n).value().get());
}
BENCHMARK(seqno_life)->Name("seqno/life");

void seqno_advance(benchmark::State& state) {
  const auto timeline = make_timeline();
  std::uint64_t n = 0;
  for (auto _ : state) {
    il::seqno_timeline_advance(*timeline, ++n);
    benchmark::DoNotOptimize(il::seqno_timeline_armed(*timeline));
  }
}
BENCHMARK(seqno_advance)->Name("seqno/advance_nobody_waits");

/// With a million fences outstanding that nobody has armed.
void seqno_advance_million(benchmark::State& state) {
  const auto timeline = make_timeline();
  std::vector<il::ref_ptr<il::dma_fence>> fences;
  constexpr std::uint64_t count = 1'000'000;
  for (std::uint64_t n = 1; n <= count; ++n) {
    fences.push_back(il::make_seqno_fence(*timeline, n).value());
  }
  std::uint64_t n = 0;
  for (auto _ : state) {
    il::seqno_timeline_advance(*timeline, ++n);
    benchmark::DoNotOptimize(il::seqno_timeline_armed(*timeline));
  }
}
BENCHMARK(seqno_advance_million)->Name("seqno/advance_million_unarmed");

void seqno_armed(benchmark::State& state) {
  const auto timeline = make_timeline();
  std::uint64_t n = 0;
  on_fresh(
      state, [&] { return il::make_seqno_fence(*timeline, ++n).value(); },
      [&](auto& fence) {
        fence->enable_sw_signaling();
        il::seqno_timeline_advance(*timeline, fence->seqno);
        il::seqno_timeline_process(*timeline);
      });
}
BENCHMARK(seqno_armed)->Name("seqno/arm_advance_process");

// --- wake ----------------------------------------------------------------------------------------

std::int64_t now_ns() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1'000'000'000 + t.tv_nsec;
}

/// Until the thread sleeps in the kernel, and a little longer, so that its processor idles.
void await_park(const std::atomic<int>& thread_id) {
  int id;
  while ((id = thread_id.load(std::memory_order_acquire)) == 0) std::this_thread::yield();
  char path[64];
  std::snprintf(path, sizeof path, "/proc/self/task/%d/stat", id);
  for (bool asleep = false; !asleep;) {
    char text[256] = {};
    std::FILE* const file = std::fopen(path, "r");
    if (file == nullptr) return;
    const std::size_t size = std::fread(text, 1, sizeof text - 1, file);
    std::fclose(file);
    const char* const end = std::find(text, text + size, ')');
    asleep = end + 2 < text + size && end[2] == 'S';
    if (!asleep) std::this_thread::yield();
  }
  timespec pause{0, 200'000};
  nanosleep(&pause, nullptr);
}

std::int64_t median(std::vector<std::int64_t>& samples) {
  std::sort(samples.begin(), samples.end());
  return samples.empty() ? 0 : samples[samples.size() / 2];
}

/// `Mechanism` is made for each wake: signal() in this thread ends wait() in the other.
template <class Mechanism>
void wake(benchmark::State& state) {
  std::vector<std::int64_t> latency;
  std::vector<std::int64_t> spent;
  std::optional<Mechanism> current;
  std::atomic<std::int64_t> woken_at{0};
  std::atomic<int> waiter_id{0};
  std::atomic<int> round{0};
  std::thread waiter{[&] {
    const int id = static_cast<int>(syscall(SYS_gettid));
    for (int r = 1;; ++r) {
      while (round.load(std::memory_order_acquire) < r) std::this_thread::yield();
      if (!current) return;
      waiter_id.store(id, std::memory_order_release);
      current->wait();
      woken_at.store(now_ns(), std::memory_order_release);
    }
  }};
  for (auto _ : state) {
    woken_at.store(0, std::memory_order_relaxed);
    waiter_id.store(0, std::memory_order_relaxed);
    current.emplace();
    round.fetch_add(1, std::memory_order_release);
    await_park(waiter_id);
    const std::int64_t begin = now_ns();
    current->signal();
    const std::int64_t signalled = now_ns();
    std::int64_t end;
    while ((end = woken_at.load(std::memory_order_acquire)) == 0) std::this_thread::yield();
    latency.push_back(end - begin);
    spent.push_back(signalled - begin);
    state.SetIterationTime(static_cast<double>(end - begin) * 1e-9);
  }
  current.reset();
  round.fetch_add(1, std::memory_order_release);
  waiter.join();
  state.counters["p50_ns"] = static_cast<double>(median(latency));
  state.counters["signaller_p50_ns"] = static_cast<double>(median(spent));
}

struct fence_wake {
  il::ref_ptr<il::dma_fence> fence = make_fence();
  void wait() { fence->wait(); }
  void signal() { fence->signal(); }
};

struct futex_wake {
  std::atomic<unsigned> word{0};
  void wait() {
    while (word.load(std::memory_order_acquire) == 0) {
      syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, nullptr, nullptr, 0);
    }
  }
  void signal() {
    word.store(1, std::memory_order_release);
    syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
  }
};

struct promise_wake {
  std::promise<void> promise;
  std::future<void> future = promise.get_future();
  void wait() { future.wait(); }
  void signal() { promise.set_value(); }
};

struct seqno_wake {
  il::ref_ptr<il::seqno_timeline> timeline = make_timeline();
  void wait() { (void)il::seqno_wait_until(*timeline, 1, il::no_deadline); }
  void signal() { il::seqno_timeline_advance(*timeline, 1); }
};

BENCHMARK(wake<futex_wake>)->Name("wake/futex")->UseManualTime()->Iterations(1000);
BENCHMARK(wake<fence_wake>)->Name("wake/interlock")->UseManualTime()->Iterations(1000);
BENCHMARK(wake<seqno_wake>)->Name("wake/interlock_seqno_word")->UseManualTime()->Iterations(1000);
BENCHMARK(wake<promise_wake>)->Name("wake/std_promise")->UseManualTime()->Iterations(1000);

}  // namespace
