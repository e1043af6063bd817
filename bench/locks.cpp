// SPDX-License-Identifier: Apache-2.0

/// Spinlock and mutex against the locks that users would pick instead: without contention, and with
/// two threads and eight on two CPUs.

#include <benchmark/benchmark.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <bit>
#include <mutex>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "interlock/mutex.hpp"
#include "interlock/spinlock.hpp"
#include "suite.hpp"
#include "two_cpus.hpp"

#if defined(INTERLOCK_BENCH_LIBABSL)
#include <absl/synchronization/mutex.h>
#endif

#if defined(INTERLOCK_BENCH_LIBCK)
#include <ck_pr.h>
#include <stdbool.h>
// <ck_spinlock.h> as a whole is not C++.
#include <spinlock/cas.h>
#include <spinlock/fas.h>
#include <spinlock/ticket.h>
#endif

namespace {

namespace il = interlock;

// --- the locks -----------------------------------------------------------------------------------

struct interlock_spinlock {
  il::spinlock lock;
  void enter() noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS { lock.lock(il::no_mask); }
  void leave() noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS { lock.unlock(il::no_mask); }
};

struct interlock_spinlock_bh {
  il::spinlock lock;
  void enter() noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS { lock.lock(il::mask_bh); }
  void leave() noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS { lock.unlock(il::mask_bh); }
};

struct interlock_spinlock_irqsave {
  il::spinlock lock;
  il::irq_flags flags{};  // of the holder
  void enter() noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
    const il::irq_flags before = lock.lock(il::irqsave);
    flags = before;
  }
  void leave() noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS { lock.unlock(il::irqsave, flags); }
};

struct interlock_mutex {
  il::mutex lock;
  void enter() noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS { lock.lock(); }
  void leave() noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS { lock.unlock(); }
};

struct std_mutex {
  std::mutex lock;
  void enter() { lock.lock(); }
  void leave() { lock.unlock(); }
};

struct pthread_adaptive {
  pthread_mutex_t lock = PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP;
  void enter() { pthread_mutex_lock(&lock); }
  void leave() { pthread_mutex_unlock(&lock); }
};

struct pthread_spin {
  pthread_spinlock_t lock{};
  pthread_spin() { pthread_spin_init(&lock, PTHREAD_PROCESS_PRIVATE); }
  void enter() { pthread_spin_lock(&lock); }
  void leave() { pthread_spin_unlock(&lock); }
};

#if defined(INTERLOCK_BENCH_LIBABSL)
/// As Debian packages it, Abseil looks for deadlocks at every lock; a program may switch that off.
template <bool detection>
struct absl_lock {
  absl::Mutex lock;
  absl_lock() {
    absl::SetMutexDeadlockDetectionMode(detection ? absl::OnDeadlockCycle::kReport
                                                  : absl::OnDeadlockCycle::kIgnore);
  }
  void enter() INTERLOCK_NO_THREAD_SAFETY_ANALYSIS { lock.Lock(); }
  void leave() INTERLOCK_NO_THREAD_SAFETY_ANALYSIS { lock.Unlock(); }
};
#endif

#if defined(INTERLOCK_BENCH_LIBCK)
struct ck_fas {
  ck_spinlock_fas_t lock = CK_SPINLOCK_FAS_INITIALIZER;
  void enter() { ck_spinlock_fas_lock(&lock); }
  void leave() { ck_spinlock_fas_unlock(&lock); }
};

struct ck_cas {
  ck_spinlock_cas_t lock = CK_SPINLOCK_CAS_INITIALIZER;
  void enter() { ck_spinlock_cas_lock(&lock); }
  void leave() { ck_spinlock_cas_unlock(&lock); }
};

struct ck_ticket {
  ck_spinlock_ticket_t lock = CK_SPINLOCK_TICKET_INITIALIZER;
  void enter() { ck_spinlock_ticket_lock(&lock); }
  void leave() { ck_spinlock_ticket_unlock(&lock); }
};
#endif

/// The floor: nothing but the bare operation, whoever waits spins.
struct test_and_set {
  std::atomic<bool> word{false};
  void enter() noexcept {
    while (word.exchange(true, std::memory_order_acquire)) {
      while (word.load(std::memory_order_relaxed)) il::platform::cpu_relax();
    }
  }
  void leave() noexcept { word.store(false, std::memory_order_release); }
};

/// The least that a lock with sleeping waiters does: its unlock has to look for them.
struct three_states {
  std::atomic<std::uint32_t> word{0};
  void enter() noexcept {
    std::uint32_t seen = 0;
    if (word.compare_exchange_strong(seen, 1, std::memory_order_acquire)) return;
    while (word.exchange(2, std::memory_order_acquire) != 0) {
      syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 2, nullptr, nullptr, 0);
    }
  }
  void leave() noexcept {
    if (word.exchange(0, std::memory_order_release) == 2)
      syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
  }
};

/// No lock at all: what the scheduler alone does to threads that are more than the CPUs. Each has a
/// counter of its own.
struct no_lock {
  void enter() noexcept {}
  void leave() noexcept {}
};

/// As in most programs the data stands beside its lock.
template <class Lock>
struct alignas(64) guarded {
  Lock lock;
  long counter = 0;
};

// --- without contention --------------------------------------------------------------------------

/// glibc's mutex does without atomics as long as a process has but one thread.
void have_two_threads() {
  static std::once_flag once;
  std::call_once(once, [] {
    std::thread{[] {
      for (;;) pause();
    }}.detach();
  });
}

template <class Lock>
void uncontended(benchmark::State& state) {
  have_two_threads();
  guarded<Lock> data;
  suite::in_batches<1000>(state, [&] {
    data.lock.enter();
    benchmark::DoNotOptimize(++data.counter);
    data.lock.leave();
  });
}

// --- with contention -----------------------------------------------------------------------------

/// Waits by their length, 16 classes for each power of two.
class histogram {
 public:
  void add(std::uint64_t ns) noexcept { ++counts_[class_of(ns)]; }
  void add_all(const histogram& other) noexcept {
    for (std::size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
  }
  void report(benchmark::State& state) const {
    std::uint64_t all = 0;
    for (const std::uint64_t c : counts_) all += c;
    if (all == 0) return;
    for (const double q : {1., 5., 10., 25., 50., 75., 90., 95., 99., 99.9}) {
      char name[16];
      std::snprintf(name, sizeof name, "q%g", q);
      const double wanted = q / 100 * static_cast<double>(all);
      std::uint64_t passed = 0;
      std::size_t i = 0;
      while (i + 1 < counts_.size() && static_cast<double>(passed += counts_[i]) <= wanted) ++i;
      state.counters[name] = middle_of(i);
    }
  }

 private:
  static constexpr unsigned bits = 4;
  static std::size_t class_of(std::uint64_t ns) noexcept {
    if (ns < (2u << bits)) return ns;
    const unsigned shift = static_cast<unsigned>(std::bit_width(ns)) - bits - 1;
    return (static_cast<std::size_t>(shift) << bits) + (ns >> shift);
  }
  static double middle_of(std::size_t i) noexcept {
    if (i < (2u << bits)) return static_cast<double>(i);
    const std::size_t shift = (i >> bits) - 1;
    const auto first = static_cast<double>(((i & 15) | 16) << shift);
    return first * (1 + 1.0 / 64);
  }
  std::array<std::uint64_t, 60 << bits> counts_{};
};

struct alignas(64) contender {
  std::uint64_t sections = 0;
  std::int64_t longest = 0;
  histogram waits;
};

constexpr std::uint64_t sections_a_look = 32;

/// Counts sections; the clock is read now and then only, which misses no long wait.
template <class Lock>
void contend(guarded<Lock>& data, contender& own, const std::atomic<bool>& stop, long gap) {
  std::int64_t before = suite::clock_ns();
  do {
    for (std::uint64_t i = 0; i < sections_a_look; ++i) {
      data.lock.enter();
      if constexpr (!std::is_same_v<Lock, no_lock>) benchmark::DoNotOptimize(++data.counter);
      data.lock.leave();
      for (long k = 0; k < gap; ++k) benchmark::DoNotOptimize(k);
      ++own.sections;
      if (stop.load(std::memory_order_relaxed)) break;
    }
    const std::int64_t now = suite::clock_ns();
    own.longest = std::max(own.longest, now - before);
    before = now;
  } while (!stop.load(std::memory_order_relaxed));
}

/// Times each wait, which is a gap of its own.
template <class Lock>
void contend_timed(guarded<Lock>& data, contender& own, const std::atomic<bool>& stop, long gap) {
  do {
    const std::int64_t begin = suite::clock_ns();
    data.lock.enter();
    const std::int64_t got = suite::clock_ns();
    if constexpr (!std::is_same_v<Lock, no_lock>) benchmark::DoNotOptimize(++data.counter);
    data.lock.leave();
    own.waits.add(static_cast<std::uint64_t>(got - begin));
    for (long k = 0; k < gap; ++k) benchmark::DoNotOptimize(k);
  } while (!stop.load(std::memory_order_relaxed));
}

struct time_spent {
  double wall, cpu;
};

/// `body(index, stop)` in `count` threads on two CPUs for `ns`.
template <class Body>
time_spent in_threads(int count, std::int64_t ns, Body body) {
  std::atomic<int> ready{0};
  std::atomic<bool> go{false}, stop{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) {
    threads.emplace_back([&, i] {
      suite::stay_on_two_cpus(count == 2 ? i : -1);
      ready.fetch_add(1, std::memory_order_relaxed);
      while (!go.load(std::memory_order_acquire)) sched_yield();
      body(static_cast<std::size_t>(i), stop);
    });
  }
  while (ready.load(std::memory_order_relaxed) < count) sched_yield();
  const std::int64_t cpu_before = suite::clock_ns(CLOCK_PROCESS_CPUTIME_ID);
  go.store(true, std::memory_order_release);
  const std::int64_t begin = suite::clock_ns();
  timespec time{0, ns};
  nanosleep(&time, nullptr);
  stop.store(true, std::memory_order_relaxed);
  const std::int64_t end = suite::clock_ns();
  const std::int64_t cpu = suite::clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu_before;
  for (std::thread& t : threads) t.join();
  return {static_cast<double>(end - begin) * 1e-9, static_cast<double>(cpu) * 1e-9};
}

/// 80 ms for the throughput (of 8 threads 240, since only what is longer than a few turns of all of
/// them shows who starves), then 40 ms for how the waits spread. `longest` is of the first part:
/// the longest that 32 sections in a row took one thread, a wait in progress at the end included.
/// `per_cpu` is sections by CPU time, for a machine that others use too.
/// `least_share`, `most_share`: what the thread that came least and most often got, of an equal share.
template <class Lock>
void contended(benchmark::State& state) {
  const long gap = state.range(0);
  const int count = static_cast<int>(state.range(1));
  const std::int64_t ms = suite::full_length() ? 4'000'000 : 1'000'000;
  for (auto _ : state) {
    guarded<Lock> data;
    std::vector<contender> contenders(static_cast<std::size_t>(count));
    const time_spent seconds = in_threads(count, (count > 2 ? 240 : 80) * ms,
                                          [&](std::size_t i, const std::atomic<bool>& stop) {
                                            contend(data, contenders[i], stop, gap);
                                          });
    std::uint64_t all = 0;
    std::uint64_t least = UINT64_MAX;
    std::uint64_t most = 0;
    std::int64_t longest = 0;
    for (const contender& c : contenders) {
      all += c.sections;
      least = std::min(least, c.sections);
      most = std::max(most, c.sections);
      longest = std::max(longest, c.longest);
    }
    in_threads(count, 40 * ms, [&](std::size_t i, const std::atomic<bool>& stop) {
      contend_timed(data, contenders[i], stop, gap);
    });
    histogram waits;
    for (const contender& c : contenders) waits.add_all(c.waits);
    waits.report(state);
    state.SetIterationTime(seconds.wall);
    state.counters["sections"] = static_cast<double>(all) / seconds.wall;
    state.counters["per_cpu"] = static_cast<double>(all) / seconds.cpu;
    state.counters["longest"] = static_cast<double>(longest);
    const double equal = static_cast<double>(all) / count;
    state.counters["least_share"] = static_cast<double>(least) / equal;
    state.counters["most_share"] = static_cast<double>(most) / equal;
  }
}

// --- rows ----------------------------------------------------------------------------------------

template <class Lock>
void add_uncontended(const std::string& row, const char* name) {
  benchmark::RegisterBenchmark((row + "_uncontended/" + name).c_str(), uncontended<Lock>)
      ->UseManualTime();
}

template <class Lock>
void add_contended(const std::string& row, const char* name) {
  benchmark::RegisterBenchmark((row + "_contended/" + name).c_str(), contended<Lock>)
      ->ArgNames({"gap", "threads"})
      ->ArgsProduct({{0, 200}, {2, 8}})
      ->Iterations(1)
      ->UseManualTime();
}

template <class Lock>
void add(const std::string& row, const char* name) {
  add_uncontended<Lock>(row, name);
  add_contended<Lock>(row, name);
}

const bool added = [] {
  add<interlock_spinlock>("spinlock", "interlock");
  add_uncontended<interlock_spinlock_bh>("spinlock", "interlock_bh");
  add_uncontended<interlock_spinlock_irqsave>("spinlock", "interlock_irqsave");
  add<interlock_mutex>("mutex", "interlock");
  for (const char* const row : {"spinlock", "mutex"}) {
    add<test_and_set>(row, "floor");
    add<three_states>(row, "floor_futex");
    add_contended<no_lock>(row, "floor_no_lock");
    add<std_mutex>(row, "std_mutex");
    add<pthread_adaptive>(row, "pthread_adaptive");
#if defined(INTERLOCK_BENCH_LIBABSL)
    add<absl_lock<false>>(row, "absl_mutex");
    add<absl_lock<true>>(row, "absl_mutex_detection");
#endif
  }
  add<pthread_spin>("spinlock", "pthread_spin");
#if defined(INTERLOCK_BENCH_LIBCK)
  add<ck_fas>("spinlock", "ck_fas");
  add<ck_cas>("spinlock", "ck_cas");
  add<ck_ticket>("spinlock", "ck_ticket");
#endif
  return true;
}();

}  // namespace

BENCHMARK_MAIN();
