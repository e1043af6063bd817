// SPDX-License-Identifier: Apache-2.0

/// Many waiters of one fence, and one waiter of many fences. The rows: rows.toml.

#include <future>
#include <memory>

#include "fence_support.hpp"
#include "suite.hpp"
#include "vulkan_peer.hpp"
#include "wake.hpp"

#if defined(INTERLOCK_BENCH_LIBABSL)
#include <absl/synchronization/mutex.h>
#include <absl/synchronization/notification.h>
#endif

namespace {

namespace il = interlock;
using suite::make_fence;

// --- 64 waiters ----------------------------------------------------------------------------------

constexpr int waiters = 64;
constexpr std::size_t rounds = 12;

struct fence_event {
  il::ref_ptr<il::dma_fence> fence = make_fence();
  void wait() { fence->wait(); }
  void signal() { fence->signal(); }
};

struct shared_future_event {
  std::promise<void> promise;
  std::shared_future<void> future = promise.get_future().share();
  void wait() { future.wait(); }
  void signal() { promise.set_value(); }
};

template <class Event>
void herd(benchmark::State& state) {
  suite::wake<Event>(state, waiters, rounds);
}
BENCHMARK(herd<fence_event>)->Name("fence_64_waiters/interlock")->Iterations(1)->UseManualTime();
BENCHMARK(herd<suite::futex_event>)->Name("fence_64_waiters/floor")->Iterations(1)->UseManualTime();
BENCHMARK(herd<shared_future_event>)
    ->Name("fence_64_waiters/std_shared_future")
    ->Iterations(1)
    ->UseManualTime();

#if defined(INTERLOCK_BENCH_LIBABSL)
struct notification_event {
  absl::Notification notification;
  void wait() { notification.WaitForNotification(); }
  void signal() { notification.Notify(); }
};
void herd_notification(benchmark::State& state) {
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  herd<notification_event>(state);
}
BENCHMARK(herd_notification)
    ->Name("fence_64_waiters/absl_notification")
    ->Iterations(1)
    ->UseManualTime();
#endif

// --- wait_any ------------------------------------------------------------------------------------

struct fences_event {
  std::vector<il::ref_ptr<il::dma_fence>> fences;
  std::vector<il::dma_fence*> pointers;
  explicit fences_event(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      fences.push_back(make_fence());
      pointers.push_back(fences.back().get());
    }
  }
  ~fences_event() {
    for (auto& f : fences) f->signal();
  }
  void wait() { (void)il::dma_fence_wait_any(pointers, il::no_deadline); }
  void signal() { fences[fences.size() / 2]->signal(); }
};

/// A deadline that has passed: the callbacks are added and taken away again, and nobody sleeps.
void set_up(benchmark::State& state, std::size_t count) {
  suite::distribution per_fence;
  const fences_event event{count};
  while (state.KeepRunningBatch(static_cast<benchmark::IterationCount>(count))) {
    const std::int64_t begin = suite::clock_ns();
    const auto done = il::dma_fence_wait_any(event.pointers, il::expired_deadline);
    const std::int64_t spent = suite::clock_ns() - begin;
    if (done) return state.SkipWithError("nothing was signalled");
    state.SetIterationTime(static_cast<double>(spent) * 1e-9);
    per_fence.add(static_cast<double>(spent) / static_cast<double>(count));
  }
  per_fence.report(state);
}
BENCHMARK_CAPTURE(set_up, thousand, 1000)->Name("fence_wait_any/interlock")->UseManualTime();
BENCHMARK_CAPTURE(set_up, hundred, 100)->Name("fence_wait_any/interlock_100")->UseManualTime();

/// To hang something on a thousand objects and to take it off: a locked operation each.
void set_up_floor(benchmark::State& state) {
  constexpr std::size_t count = 1000;
  struct alignas(64) word {
    std::atomic<unsigned> n{0};
  };
  std::vector<word> words(count);
  suite::distribution per_object;
  while (state.KeepRunningBatch(count)) {
    const std::int64_t begin = suite::clock_ns();
    for (word& w : words) w.n.exchange(1, std::memory_order_acq_rel);
    for (word& w : words) w.n.exchange(0, std::memory_order_acq_rel);
    const std::int64_t spent = suite::clock_ns() - begin;
    state.SetIterationTime(static_cast<double>(spent) * 1e-9);
    per_object.add(static_cast<double>(spent) / static_cast<double>(count));
  }
  per_object.report(state);
}
BENCHMARK(set_up_floor)->Name("fence_wait_any/floor")->UseManualTime();

#if defined(INTERLOCK_BENCH_LIBVULKAN)
void set_up_vulkan(benchmark::State& state) {
  if (vulkan::device() == nullptr) return state.SkipWithError(vulkan::missing);
  constexpr std::size_t count = 1000;
  std::vector<std::unique_ptr<vulkan::timeline>> timelines;
  std::vector<VkSemaphore> handles;
  const std::vector<std::uint64_t> values(count, 1);
  for (std::size_t i = 0; i < count; ++i) {
    timelines.push_back(std::make_unique<vulkan::timeline>());
    handles.push_back(timelines.back()->handle());
  }
  VkSemaphoreWaitInfo info{};
  info.sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO;
  info.flags = VK_SEMAPHORE_WAIT_ANY_BIT;
  info.semaphoreCount = count;
  info.pSemaphores = handles.data();
  info.pValues = values.data();
  suite::distribution per_semaphore;
  while (state.KeepRunningBatch(count)) {
    const std::int64_t begin = suite::clock_ns();
    const VkResult done = vkWaitSemaphores(vulkan::device(), &info, 0);
    const std::int64_t spent = suite::clock_ns() - begin;
    if (done != VK_TIMEOUT) return state.SkipWithError("nothing was signalled");
    state.SetIterationTime(static_cast<double>(spent) * 1e-9);
    per_semaphore.add(static_cast<double>(spent) / static_cast<double>(count));
  }
  per_semaphore.report(state);
}
BENCHMARK(set_up_vulkan)->Name("fence_wait_any/vulkan_timeline")->UseManualTime();
#endif

template <std::size_t count>
struct any_event : fences_event {
  any_event() : fences_event{count} {}
};

template <class Event>
void wake_any(benchmark::State& state) {
  suite::wake<Event>(state, 1, 100);
}
BENCHMARK(wake_any<any_event<1000>>)
    ->Name("fence_wait_any_wake/interlock")
    ->Iterations(1)
    ->UseManualTime();
BENCHMARK(wake_any<any_event<1>>)
    ->Name("fence_wait_any_wake/interlock_one")
    ->Iterations(1)
    ->UseManualTime();
BENCHMARK(wake_any<suite::futex_event>)
    ->Name("fence_wait_any_wake/floor")
    ->Iterations(1)
    ->UseManualTime();

}  // namespace

BENCHMARK_MAIN();
