// SPDX-License-Identifier: Apache-2.0

/// Interrupts: off and on again, and from a raise to the handler.

#include <benchmark/benchmark.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <thread>

#include "interlock/interrupt.hpp"
#include "interlock/irqflags.hpp"
#include "suite.hpp"
#include "wake.hpp"

namespace {

namespace il = interlock;

// --- off and on ----------------------------------------------------------------------------------

void pair(benchmark::State& state) {
  suite::in_batches<1000>(state, [] {
    const il::irq_flags flags = il::local_irq_save();
    benchmark::ClobberMemory();
    il::local_irq_restore(flags);
  });
}
BENCHMARK(pair)->Name("irq_pair/interlock")->UseManualTime();

void pair_disable(benchmark::State& state) {
  suite::in_batches<1000>(state, [] {
    il::local_irq_disable();
    benchmark::ClobberMemory();
    il::local_irq_enable();
  });
}
BENCHMARK(pair_disable)->Name("irq_pair/interlock_disable_enable")->UseManualTime();

void pair_nested(benchmark::State& state) {
  const il::irq_flags outer = il::local_irq_save();
  suite::in_batches<1000>(state, [] {
    const il::irq_flags flags = il::local_irq_save();
    benchmark::ClobberMemory();
    il::local_irq_restore(flags);
  });
  il::local_irq_restore(outer);
}
BENCHMARK(pair_nested)->Name("irq_pair/interlock_nested")->UseManualTime();

thread_local std::atomic<std::uint32_t> flag;
thread_local std::atomic<std::uint32_t> missed;

void pair_floor(benchmark::State& state) {
  suite::in_batches<1000>(state, [] {
    flag.store(1, std::memory_order_relaxed);
    benchmark::ClobberMemory();
    flag.store(0, std::memory_order_relaxed);
    benchmark::ClobberMemory();
  });
}
BENCHMARK(pair_floor)->Name("irq_pair/floor")->UseManualTime();

/// What any such pair has to do beside: remember how it was, and see what came meanwhile.
void pair_floor_pending(benchmark::State& state) {
  suite::in_batches<1000>(state, [] {
    const std::uint32_t before = flag.load(std::memory_order_relaxed);
    flag.store(1, std::memory_order_relaxed);
    benchmark::ClobberMemory();
    flag.store(before, std::memory_order_relaxed);
    benchmark::ClobberMemory();
    benchmark::DoNotOptimize(missed.load(std::memory_order_relaxed) != 0);
  });
}
BENCHMARK(pair_floor_pending)->Name("irq_pair/floor_with_pending")->UseManualTime();

void pair_sigmask(benchmark::State& state) {
  sigset_t all, before;
  sigfillset(&all);
  suite::in_batches(state, [&] {
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  });
}
BENCHMARK(pair_sigmask)->Name("irq_pair/pthread_sigmask")->UseManualTime();

// --- from a raise to the handler -----------------------------------------------------------------

/// When the handler came to run; 0: not yet.
std::atomic<std::int64_t> handled_at;

void handle() noexcept { handled_at.store(suite::clock_ns(), std::memory_order_release); }

il::irqreturn handle_irq() noexcept {
  handle();
  return il::irqreturn::handled;
}

/// A thread on the second CPU that spins, or sleeps in the kernel, until it is destroyed.
class target {
 public:
  explicit target(bool asleep)
      : thread_{[this, asleep] {
          const suite::pinned place{1};
          cpu_ = il::online_cpu().value();
          id_.store(suite::thread_id(), std::memory_order_release);
          while (stop_.load(std::memory_order_relaxed) == 0) {
            if (asleep) syscall(SYS_futex, &stop_, FUTEX_WAIT_PRIVATE, 0, nullptr, nullptr, 0);
          }
        }} {
    while (id_.load(std::memory_order_acquire) == 0) suite::sleep_us(10);
  }
  target(const target&) = delete;
  target& operator=(const target&) = delete;
  ~target() {
    stop_.store(1, std::memory_order_relaxed);
    syscall(SYS_futex, &stop_, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
    thread_.join();
  }
  [[nodiscard]] int id() const noexcept { return id_.load(std::memory_order_relaxed); }
  [[nodiscard]] il::cpu_id cpu() const noexcept { return cpu_; }
  [[nodiscard]] pthread_t handle() { return thread_.native_handle(); }

 private:
  std::atomic<unsigned> stop_{0};
  std::atomic<int> id_{0};
  il::cpu_id cpu_{};
  std::thread thread_;
};

/// `ring()` from the first CPU until the handler has read the clock; each time 0.1 ms after the
/// thread `sleeper` went to sleep (0: none has to).
template <class Ring>
void latency(benchmark::State& state, int sleeper, Ring ring) {
  constexpr int rounds = 150;
  const suite::pinned place{0};
  for (auto _ : state) {
    suite::distribution until_handled, raiser;
    for (int r = 0; r < rounds; ++r) {
      if (sleeper != 0) {
        while (!suite::sleeps(sleeper)) suite::sleep_us(10);
        suite::sleep_us(100);
      } else {
        suite::sleep_us(20);
      }
      handled_at.store(0, std::memory_order_relaxed);
      const std::int64_t begin = suite::clock_ns();
      ring();
      raiser.add(static_cast<double>(suite::clock_ns() - begin));
      std::int64_t at;
      while ((at = handled_at.load(std::memory_order_acquire)) == 0) sched_yield();
      until_handled.add(static_cast<double>(at - begin));
    }
    state.SetIterationTime(1e-3);
    until_handled.report(state);
    state.counters["raiser"] = raiser.median();
  }
}

void asynchronous(benchmark::State& state, bool asleep) {
  target thread{asleep};
  const auto line =
      il::make_irq_line({.kind = il::irq_kind::asynchronous, .target = thread.cpu()}).value();
  const il::irq_action action = il::request_irq(*line, handle_irq).value();
  latency(state, asleep ? thread.id() : 0, [&] { il::raise_irq(*line); });
}
BENCHMARK_CAPTURE(asynchronous, spinning, false)
    ->Name("irq_asynchronous/interlock")
    ->Iterations(1)
    ->UseManualTime();
BENCHMARK_CAPTURE(asynchronous, asleep, true)
    ->Name("irq_asynchronous_asleep/interlock")
    ->Iterations(1)
    ->UseManualTime();

/// A signal with a handler of the flags that Interlock's doorbell has.
int bare_signal() {
  static const int number = [] {
    struct sigaction action {};
    action.sa_sigaction = [](int, siginfo_t*, void*) { handle(); };
    action.sa_flags = SA_SIGINFO | SA_RESTART | SA_NODEFER;
    sigemptyset(&action.sa_mask);
    sigaction(SIGRTMIN + 1, &action, nullptr);
    return SIGRTMIN + 1;
  }();
  return number;
}

void asynchronous_floor(benchmark::State& state, bool asleep) {
  const int number = bare_signal();
  target thread{asleep};
  latency(state, asleep ? thread.id() : 0,
          [&] { syscall(SYS_tgkill, getpid(), thread.id(), number); });
}
BENCHMARK_CAPTURE(asynchronous_floor, spinning, false)
    ->Name("irq_asynchronous/floor")
    ->Iterations(1)
    ->UseManualTime();
BENCHMARK_CAPTURE(asynchronous_floor, asleep, true)
    ->Name("irq_asynchronous_asleep/floor")
    ->Iterations(1)
    ->UseManualTime();

void asynchronous_sigqueue(benchmark::State& state, bool asleep) {
  const int number = bare_signal();
  target thread{asleep};
  latency(state, asleep ? thread.id() : 0,
          [&] { pthread_sigqueue(thread.handle(), number, sigval{}); });
}
BENCHMARK_CAPTURE(asynchronous_sigqueue, spinning, false)
    ->Name("irq_asynchronous/pthread_sigqueue")
    ->Iterations(1)
    ->UseManualTime();
BENCHMARK_CAPTURE(asynchronous_sigqueue, asleep, true)
    ->Name("irq_asynchronous_asleep/pthread_sigqueue")
    ->Iterations(1)
    ->UseManualTime();

/// Its own line: nobody has to be rung.
void own(benchmark::State& state) {
  (void)il::online_cpu().value();
  const auto line = il::make_irq_line({.kind = il::irq_kind::asynchronous}).value();
  const il::irq_action action = il::request_irq(*line, [] {
                                  benchmark::ClobberMemory();
                                  return il::irqreturn::handled;
                                }).value();
  suite::in_batches(state, [&] { il::raise_irq(*line); });
}
BENCHMARK(own)->Name("irq_own/interlock")->UseManualTime();

void own_floor(benchmark::State& state) {
  struct sigaction action {};
  action.sa_sigaction = [](int, siginfo_t*, void*) { benchmark::ClobberMemory(); };
  action.sa_flags = SA_SIGINFO | SA_RESTART | SA_NODEFER;
  sigemptyset(&action.sa_mask);
  const int number = SIGRTMIN + 2;
  sigaction(number, &action, nullptr);
  const int id = suite::thread_id();
  suite::in_batches(state, [&] { syscall(SYS_tgkill, getpid(), id, number); });
}
BENCHMARK(own_floor)->Name("irq_own/floor")->UseManualTime();

void put_on_second_cpu(int id) {
  cpu_set_t one;
  {
    const suite::pinned place{1};
    sched_getaffinity(0, sizeof one, &one);
  }
  sched_setaffinity(id, sizeof one, &one);
}

void threaded(benchmark::State& state) {
  const int id = static_cast<int>(il::service_cpu().value());
  put_on_second_cpu(id);
  const auto line = il::make_irq_line({}).value();
  const il::irq_action action = il::request_irq(*line, handle_irq).value();
  latency(state, id, [&] { il::raise_irq(*line); });
}
BENCHMARK(threaded)->Name("irq_threaded/interlock")->Iterations(1)->UseManualTime();

/// The same, raised by a descriptor that somebody else makes readable.
void threaded_fd(benchmark::State& state) {
  const int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  {
    const int id = static_cast<int>(il::service_cpu().value());
    put_on_second_cpu(id);
    const auto line = il::make_irq_line({.fd = fd}).value();
    const il::irq_action action = il::request_irq(*line, handle_irq).value();
    latency(state, id, [&] { eventfd_write(fd, 1); });
  }
  close(fd);
}
BENCHMARK(threaded_fd)->Name("irq_threaded/interlock_fd")->Iterations(1)->UseManualTime();

/// A thread that waits for an eventfd: `wait(fd)` returns when it was readable, and has read it.
template <class Wait>
void eventfd_floor(benchmark::State& state, int flags, Wait wait) {
  const int fd = eventfd(0, EFD_CLOEXEC | flags);
  std::atomic<int> id{0};
  std::atomic<bool> stop{false};
  std::thread waiter{[&] {
    const suite::pinned place{1};
    auto ready = wait(fd);
    id.store(suite::thread_id(), std::memory_order_release);
    for (;;) {
      ready();
      if (stop.load(std::memory_order_relaxed)) return;
      handle();
    }
  }};
  while (id.load(std::memory_order_acquire) == 0) suite::sleep_us(10);
  latency(state, id, [&] { eventfd_write(fd, 1); });
  stop.store(true, std::memory_order_relaxed);
  eventfd_write(fd, 1);
  waiter.join();
  close(fd);
}

void threaded_floor(benchmark::State& state) {
  eventfd_floor(state, 0, [](int fd) {
    return [fd] {
      eventfd_t value;
      eventfd_read(fd, &value);
    };
  });
}
BENCHMARK(threaded_floor)->Name("irq_threaded/floor")->Iterations(1)->UseManualTime();

/// As whoever waits for several descriptors has to.
void threaded_floor_epoll(benchmark::State& state) {
  int set = -1;
  eventfd_floor(state, EFD_NONBLOCK, [&](int fd) {
    set = epoll_create1(EPOLL_CLOEXEC);
    epoll_event event{};
    event.events = EPOLLIN;
    epoll_ctl(set, EPOLL_CTL_ADD, fd, &event);
    return [fd, set] {
      epoll_event ready;
      epoll_wait(set, &ready, 1, -1);
      eventfd_t value;
      eventfd_read(fd, &value);
    };
  });
  close(set);
}
BENCHMARK(threaded_floor_epoll)->Name("irq_threaded/floor_epoll")->Iterations(1)->UseManualTime();

}  // namespace

BENCHMARK_MAIN();
