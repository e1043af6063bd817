// SPDX-License-Identifier: Apache-2.0
#pragma once

/// From a signal to the return of a waiter that sleeps in the kernel.

#include <linux/futex.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#include <optional>
#include <thread>

#include "suite.hpp"

namespace suite {

inline int thread_id() noexcept { return static_cast<int>(syscall(SYS_gettid)); }

/// Does the thread sleep in the kernel?
inline bool sleeps(int id) {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/self/task/%d/stat", id);
  char text[256] = {};
  std::FILE* const file = std::fopen(path, "r");
  if (file == nullptr) return false;
  const std::size_t size = std::fread(text, 1, sizeof text - 1, file);
  std::fclose(file);
  const char* const end = std::find(text, text + size, ')');
  return end + 2 < text + size && end[2] == 'S';
}

inline void sleep_us(long us) noexcept {
  timespec pause{us / 1'000'000, us % 1'000'000 * 1000};
  nanosleep(&pause, nullptr);
}

/// Until the thread whose id this is (0: not yet known) sleeps.
inline void await_sleep(const std::atomic<int>& id) {
  int known;
  while ((known = id.load(std::memory_order_acquire)) == 0) sleep_us(10);
  while (!sleeps(known)) sleep_us(10);
}

/// The floor: one word, one system call each.
struct futex_event {
  std::atomic<unsigned> word{0};
  void wait() {
    while (word.load(std::memory_order_acquire) == 0) {
      syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, nullptr, nullptr, 0);
    }
  }
  void signal() {
    word.store(1, std::memory_order_release);
    syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, INT32_MAX, nullptr, nullptr, 0);
  }
};

/// For its scope the calling thread stays on one of the first two CPUs that it may use; without
/// effect if there is but one.
class pinned {
 public:
  explicit pinned(int nth) {
    CPU_ZERO(&before_);
    sched_getaffinity(0, sizeof before_, &before_);
    cpu_set_t one;
    CPU_ZERO(&one);
    for (std::size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(cpu, &before_) == 0 || nth-- > 0) continue;
      CPU_SET(cpu, &one);
      sched_setaffinity(0, sizeof one, &one);
      return;
    }
  }
  pinned(const pinned&) = delete;
  pinned& operator=(const pinned&) = delete;
  ~pinned() { sched_setaffinity(0, sizeof before_, &before_); }

 private:
  cpu_set_t before_;
};

/// `Event` is made for each wake: signal() in this thread ends wait() in `waiters` others, which
/// have slept for 0.1 ms. Counters: the distribution of the time until the last of them has
/// returned, `signaller` (the median of what signal() took), and `switches`, how often a waiter went
/// to sleep, per waiter and wake. A single waiter has a CPU of its own, which idles meanwhile: a wake
/// on the same CPU is another figure. With Iterations(1) and UseManualTime().
template <class Event>
void wake(benchmark::State& state, int waiters, std::size_t rounds) {
  std::optional<Event> current;
  struct alignas(64) seat {
    std::atomic<int> id{0};
    std::atomic<std::int64_t> woken_at{0};
    std::atomic<long> switches{0};
  };
  std::vector<seat> seats(static_cast<std::size_t>(waiters));
  std::atomic<unsigned> round{0};
  std::vector<std::thread> threads;
  threads.reserve(seats.size());
  const auto own_switches = [] {
    rusage used;
    getrusage(RUSAGE_THREAD, &used);
    return used.ru_nvcsw;
  };
  std::optional<pinned> place;
  for (seat& own : seats) {
    threads.emplace_back([&] {
      std::optional<pinned> own_place;
      if (waiters == 1) own_place.emplace(1);
      for (unsigned r = 1;; ++r) {
        for (unsigned seen; (seen = round.load(std::memory_order_acquire)) < r;) {
          syscall(SYS_futex, &round, FUTEX_WAIT_PRIVATE, seen, nullptr, nullptr, 0);
        }
        if (!current) return;
        const long before = own_switches();
        own.id.store(thread_id(), std::memory_order_release);
        current->wait();
        const std::int64_t now = clock_ns();
        own.switches.fetch_add(own_switches() - before, std::memory_order_relaxed);
        own.woken_at.store(now, std::memory_order_release);
      }
    });
  }
  if (waiters == 1) place.emplace(0);
  const auto next_round = [&] {
    round.fetch_add(1, std::memory_order_release);
    syscall(SYS_futex, &round, FUTEX_WAKE_PRIVATE, INT32_MAX, nullptr, nullptr, 0);
  };
  for (auto _ : state) {
    distribution latency, signaller;
    for (std::size_t r = 0; r < rounds; ++r) {
      for (seat& s : seats) {
        s.id.store(0, std::memory_order_relaxed);
        s.woken_at.store(0, std::memory_order_relaxed);
      }
      current.emplace();
      next_round();
      for (const seat& s : seats) await_sleep(s.id);
      sleep_us(100);
      const std::int64_t begin = clock_ns();
      current->signal();
      signaller.add(static_cast<double>(clock_ns() - begin));
      std::int64_t last = 0;
      for (const seat& s : seats) {
        std::int64_t at;
        while ((at = s.woken_at.load(std::memory_order_acquire)) == 0) sleep_us(20);
        last = std::max(last, at);
      }
      latency.add(static_cast<double>(last - begin));
    }
    state.SetIterationTime(1e-3);
    latency.report(state);
    state.counters["signaller"] = signaller.median();
    long switches = 0;
    for (const seat& s : seats) switches += s.switches.load(std::memory_order_relaxed);
    state.counters["switches"] =
        static_cast<double>(switches) / static_cast<double>(seats.size() * rounds);
  }
  current.reset();
  next_round();
  for (std::thread& t : threads) t.join();
}

}  // namespace suite
