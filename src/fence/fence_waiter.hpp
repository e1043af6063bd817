// SPDX-License-Identifier: Apache-2.0
#pragma once

/// The callback of a waiting task, and its wake: begun under the fence's lock, ended after it.
///
/// A task that is woken under the lock takes that lock next, and on a machine that runs the woken
/// at once it would find it held and sleep again. So signal collects what has to be unparked; by
/// then the waiter and its task may be gone, which an unpark allows. (A wait for one fence that no
/// signal of a task can interrupt has no callback: it parks on the flags, see dma_fence_wait.cpp.)

#include "interlock/dma_fence.hpp"
#include "interlock_platform/park.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::detail {

struct fence_waiter {
  dma_fence_cb cb;
  task* sleeper;
};

/// The `func` of a fence_waiter. Signal calls `begin_fence_wake` in its place.
void wake_fence_waiter(dma_fence* fence, dma_fence_cb* cb) noexcept;

/// What has to be unparked to wake the waiter; null if it is awake. Context: under the fence's
/// lock.
[[nodiscard]] const atomic<std::uint32_t>* begin_fence_wake(dma_fence_cb& cb) noexcept;

/// Wakes to be ended without the lock.
class pending_wakes {
 public:
  [[nodiscard]] bool is_full() const noexcept { return count_ == capacity; }
  /// Pre: not full.
  void add(const atomic<std::uint32_t>* parked) noexcept {
    if (parked != nullptr) parked_[count_++] = parked;
  }
  /// Everybody who is parked on `word`, of which only the address is used.
  void add_all(const atomic<std::uint32_t>& word) noexcept { all_ = &word; }
  void flush() noexcept {
    if (all_ != nullptr) platform::unpark(*all_, platform::unpark_all);
    for (unsigned i = 0; i < count_; ++i) platform::unpark(*parked_[i], 1);
    all_ = nullptr;
    count_ = 0;
  }

 private:
  static constexpr unsigned capacity = 16;
  unsigned count_ = 0;
  const atomic<std::uint32_t>* all_ = nullptr;
  const atomic<std::uint32_t>* parked_[capacity];
};

}  // namespace interlock::inline INTERLOCK_PLATFORM::detail
