// SPDX-License-Identifier: Apache-2.0

/// One waiter of one fence: woken where it sleeps, handed to where it spins, and both where there are
/// more threads than CPUs.

#include <benchmark/benchmark.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <condition_variable>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <semaphore>
#include <string>
#include <thread>
#include <vector>

#include "fence_support.hpp"
#include "suite.hpp"
#include "two_cpus.hpp"
#include "wake.hpp"

#if defined(INTERLOCK_BENCH_LIBABSL)
#include <absl/synchronization/mutex.h>
#include <absl/synchronization/notification.h>
#endif

namespace {

namespace il = interlock;

// --- what is signalled once ----------------------------------------------------------------------

struct fence_event {
  il::ref_ptr<il::dma_fence> fence = suite::make_fence();
  void wait() { fence->wait(); }
  void signal() { fence->signal(); }
};

struct future_event {
  std::promise<void> promise;
  std::future<void> future = promise.get_future();
  void wait() { future.wait(); }
  void signal() { promise.set_value(); }
};

struct semaphore_event {
  std::binary_semaphore semaphore{0};
  void wait() { semaphore.acquire(); }
  void signal() { semaphore.release(); }
};

struct atomic_event {
  std::atomic<int> word{0};
  void wait() { word.wait(0, std::memory_order_acquire); }
  void signal() {
    word.store(1, std::memory_order_release);
    word.notify_one();
  }
};

struct condition_event {
  std::mutex lock;
  std::condition_variable condition;
  bool done = false;
  void wait() {
    std::unique_lock guard{lock};
    condition.wait(guard, [this] { return done; });
  }
  void signal() {
    const std::lock_guard guard{lock};
    done = true;
    condition.notify_one();
  }
};

#if defined(INTERLOCK_BENCH_LIBABSL)
struct notification_event {
  notification_event() { absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore); }
  absl::Notification notification;
  void wait() { notification.WaitForNotification(); }
  void signal() { notification.Notify(); }
};
#endif

struct eventfd_event {
  int fd = eventfd(0, EFD_CLOEXEC);
  eventfd_event() = default;
  eventfd_event(const eventfd_event&) = delete;
  eventfd_event& operator=(const eventfd_event&) = delete;
  ~eventfd_event() { close(fd); }
  void wait() {
    eventfd_t value;
    eventfd_read(fd, &value);
  }
  void signal() { eventfd_write(fd, 1); }
};

/// The floor of a hand-off: one word, the waiter looks at it without end.
struct spin_event {
  std::atomic<bool> done{false};
  void wait() noexcept {
    while (!done.load(std::memory_order_acquire)) il::platform::cpu_relax();
  }
  void signal() noexcept { done.store(true, std::memory_order_release); }
};

// --- a waiter that sleeps ------------------------------------------------------------------------

template <class Event>
void sleeper(benchmark::State& state) {
  suite::wake<Event>(state, 1, 60);
}

// --- to and fro ----------------------------------------------------------------------------------

/// Each hand-off has an event of its own, on a cache line of its own, as fences have.
template <class Event>
class table {
 public:
  explicit table(std::size_t rounds) : ping_(rounds), pong_(rounds) {}
  void begin(std::size_t i) { ping_[i].event.signal(); }
  void await(std::size_t i) { ping_[i].event.wait(); }
  void answer(std::size_t i) { pong_[i].event.signal(); }
  void first(std::size_t i) {
    begin(i);
    pong_[i].event.wait();
  }
  void second(std::size_t i) {
    await(i);
    answer(i);
  }

 private:
  struct alignas(64) place {
    Event event;
  };
  std::vector<place> ping_, pong_;
};

/// Two threads on two CPUs, or (`one_cpu`) on one. q50 and the others are of a hand-off, of means over
/// 8 round trips. As many as fit into 60 ms: where threads sleep each is a thousand times longer.
template <class Event>
void handoff(benchmark::State& state, bool one_cpu) {
  constexpr std::size_t batch = 8;
  const std::size_t rounds = one_cpu ? 800 : 2400;
  for (auto _ : state) {
    table<Event> events{rounds};
    suite::distribution per_handoff;
    std::atomic<bool> ready{false}, stop{false};
    std::thread other{[&] {
      const suite::pinned place{one_cpu ? 0 : 1};
      ready.store(true, std::memory_order_release);
      for (std::size_t i = 0;; ++i) {
        events.await(i);
        if (stop.load(std::memory_order_relaxed)) return;
        events.answer(i);
      }
    }};
    const suite::pinned place{0};
    while (!ready.load(std::memory_order_acquire)) sched_yield();
    std::int64_t before = suite::clock_ns();
    const std::int64_t end = before + 60'000'000;
    std::size_t i = 0;
    while (i + batch < rounds && before < end) {
      for (std::size_t k = 0; k < batch; ++k) events.first(i++);
      const std::int64_t now = suite::clock_ns();
      per_handoff.add(static_cast<double>(now - before) / (2 * batch));
      before = now;
    }
    stop.store(true, std::memory_order_relaxed);
    events.begin(i);
    other.join();
    state.SetIterationTime(1e-3);
    per_handoff.report(state);
  }
}

/// Four pairs on two CPUs: hand-offs of all, and the CPU time of each.
template <class Event>
void crowd(benchmark::State& state) {
  constexpr std::size_t pairs = 4;
  constexpr std::size_t rounds = 1000;
  for (auto _ : state) {
    std::vector<std::unique_ptr<table<Event>>> events;
    for (std::size_t p = 0; p < pairs; ++p)
      events.push_back(std::make_unique<table<Event>>(rounds));
    std::atomic<bool> go{false};
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < 2 * pairs; ++t) {
      threads.emplace_back([&, t] {
        suite::stay_on_two_cpus();
        while (!go.load(std::memory_order_acquire)) sched_yield();
        table<Event>& own = *events[t / 2];
        for (std::size_t i = 0; i < rounds; ++i) t % 2 == 0 ? own.first(i) : own.second(i);
      });
    }
    const std::int64_t cpu = suite::clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    const std::int64_t begin = suite::clock_ns();
    go.store(true, std::memory_order_release);
    for (std::thread& t : threads) t.join();
    const auto wall = static_cast<double>(suite::clock_ns() - begin) * 1e-9;
    constexpr auto handoffs = static_cast<double>(2 * pairs * rounds);
    state.SetIterationTime(wall);
    state.counters["handoffs"] = handoffs / wall;
    state.counters["cpu_each"] =
        static_cast<double>(suite::clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu) / handoffs;
  }
}

/// As the floor, on two words that both threads keep: what the machine can do where nothing is made.
void handoff_two_words(benchmark::State& state) {
  constexpr unsigned rounds = 2400;
  constexpr unsigned batch = 8;
  struct alignas(64) word {
    std::atomic<unsigned> at{0};
  };
  for (auto _ : state) {
    word ping, pong;
    suite::distribution per_handoff;
    const auto wait = [](const word& w, unsigned round) {
      while (w.at.load(std::memory_order_acquire) < round) il::platform::cpu_relax();
    };
    std::thread other{[&] {
      const suite::pinned place{1};
      for (unsigned i = 1; i <= rounds; ++i) {
        wait(ping, i);
        pong.at.store(i, std::memory_order_release);
      }
    }};
    const suite::pinned place{0};
    std::int64_t before = suite::clock_ns();
    for (unsigned i = 1; i <= rounds; ++i) {
      ping.at.store(i, std::memory_order_release);
      wait(pong, i);
      if (i % batch != 0) continue;
      const std::int64_t now = suite::clock_ns();
      per_handoff.add(static_cast<double>(now - before) / (2 * batch));
      before = now;
    }
    other.join();
    state.SetIterationTime(1e-3);
    per_handoff.report(state);
  }
}

// --- rows ----------------------------------------------------------------------------------------

void add_row(const std::string& name, std::function<void(benchmark::State&)> run) {
  benchmark::RegisterBenchmark(name.c_str(), run)->Iterations(1)->UseManualTime();
}

/// Of the rows whose floor is the raw futex: all that end up in the kernel.
template <class Event>
void add_sleeping(const std::string& name) {
  add_row("fence_wake/" + name, sleeper<Event>);
  add_row("fence_handoff_one_cpu/" + name,
          [](benchmark::State& state) { handoff<Event>(state, true); });
  add_row("fence_handoff_crowd/" + name, crowd<Event>);
}

template <class Event>
void add_spinning(const std::string& name) {
  add_row("fence_handoff/" + name, [](benchmark::State& state) { handoff<Event>(state, false); });
}

const bool added = [] {
  add_sleeping<fence_event>("interlock");
  add_spinning<fence_event>("interlock");
  add_sleeping<suite::futex_event>("floor");
  add_spinning<spin_event>("floor");
  add_spinning<suite::futex_event>("floor_futex");
  add_row("fence_handoff/floor_two_words", handoff_two_words);
  const auto add = []<class Event>(std::type_identity<Event>, const char* name) {
    add_sleeping<Event>(name);
    add_spinning<Event>(name);
  };
  add(std::type_identity<future_event>{}, "std_future");
  add(std::type_identity<semaphore_event>{}, "std_binary_semaphore");
  add(std::type_identity<atomic_event>{}, "std_atomic_wait");
  add(std::type_identity<condition_event>{}, "std_condition_variable");
#if defined(INTERLOCK_BENCH_LIBABSL)
  add(std::type_identity<notification_event>{}, "absl_notification");
#endif
  add_row("fence_wake/eventfd", sleeper<eventfd_event>);
  return true;
}();

}  // namespace

BENCHMARK_MAIN();
