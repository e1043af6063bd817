// SPDX-License-Identifier: Apache-2.0

/// What a lock costs, against its peers: without contention, and with more threads than cores.
///
///   bench_locks --benchmark_filter=uncontended
///   bench_locks --benchmark_filter='contended.*threads:8'
/// `gap` is the number of empty iterations outside the lock; items are critical sections.

#include <benchmark/benchmark.h>
#include <pthread.h>

#include <mutex>

#include "interlock/mutex.hpp"
#include "interlock/spinlock.hpp"

namespace {

namespace il = interlock;

struct interlock_spinlock {
  il::spinlock lock;
  void enter() noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS { lock.lock(il::no_mask); }
  void leave() noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS { lock.unlock(il::no_mask); }
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

struct pthread_spin {
  pthread_spinlock_t lock{};
  pthread_spin() { pthread_spin_init(&lock, PTHREAD_PROCESS_PRIVATE); }
  void enter() { pthread_spin_lock(&lock); }
  void leave() { pthread_spin_unlock(&lock); }
};

struct pthread_adaptive {
  pthread_mutex_t lock = PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP;
  void enter() { pthread_mutex_lock(&lock); }
  void leave() { pthread_mutex_unlock(&lock); }
};

#if defined(INTERLOCK_BENCH_LIBCK)
}  // namespace
#include <spinlock/fas.h>  // <ck_spinlock.h> as a whole is not C++
namespace {
struct ck_fas {
  ck_spinlock_fas_t lock = CK_SPINLOCK_FAS_INITIALIZER;
  void enter() { ck_spinlock_fas_lock(&lock); }
  void leave() { ck_spinlock_fas_unlock(&lock); }
};
#endif

template <class Lock>
void uncontended(benchmark::State& state) {
  static Lock lock;
  static long counter;
  for (auto _ : state) {
    lock.enter();
    ++counter;
    lock.leave();
    benchmark::DoNotOptimize(counter);
  }
}

template <class Lock>
void contended(benchmark::State& state) {
  static Lock lock;
  static long counter;
  const auto gap = state.range(0);
  for (auto _ : state) {
    lock.enter();
    benchmark::DoNotOptimize(++counter);
    lock.leave();
    for (long i = 0; i < gap; ++i) benchmark::DoNotOptimize(i);
  }
  state.SetItemsProcessed(state.iterations());
}

void interlock_irqsave(benchmark::State& state) {
  static il::spinlock lock;
  static long counter;
  for (auto _ : state) {
    const il::guard g{il::irqsave, lock};
    ++counter;
    benchmark::DoNotOptimize(counter);
  }
}
BENCHMARK(interlock_irqsave)->Name("uncontended/interlock_spinlock_irqsave");

#define INTERLOCK_BENCH_LOCK(type)                                   \
  BENCHMARK_TEMPLATE(uncontended, type)->Name("uncontended/" #type); \
  BENCHMARK_TEMPLATE(contended, type)                                \
      ->Name("contended/" #type)                                     \
      ->ArgName("gap")                                               \
      ->Arg(0)                                                       \
      ->Arg(200)                                                     \
      ->Threads(2)                                                   \
      ->Threads(8)                                                   \
      ->UseRealTime()

INTERLOCK_BENCH_LOCK(interlock_spinlock);
INTERLOCK_BENCH_LOCK(interlock_mutex);
INTERLOCK_BENCH_LOCK(std_mutex);
INTERLOCK_BENCH_LOCK(pthread_adaptive);
INTERLOCK_BENCH_LOCK(pthread_spin);
#if defined(INTERLOCK_BENCH_LIBCK)
INTERLOCK_BENCH_LOCK(ck_fas);
#endif

}  // namespace
