// SPDX-License-Identifier: Apache-2.0
#pragma once

/// An atomic object whose every operation names its memory order.
///
/// `std::atomic` defaults to seq_cst, which hides the order a reader of lock-free code most wants
/// to see. Here there is no default: `load_acquire`, `store_release`, `fetch_add_relaxed`.
/// Layout:  that of `std::atomic<T>`, which is that of `T` for the lock-free sizes used here.
/// Context: any, NMI included; always lock-free (checked at compile time).

#include <atomic>

#include "interlock/barrier.hpp"

namespace interlock {

template <class T>
class atomic {
  static_assert(std::atomic<T>::is_always_lock_free, "interlock::atomic is lock-free or nothing");

 public:
  using value_type = T;

  constexpr atomic() noexcept = default;
  constexpr explicit atomic(T value) noexcept : value_{value} {}
  atomic(const atomic&) = delete;
  atomic& operator=(const atomic&) = delete;

  T load_relaxed() const noexcept { return value_.load(std::memory_order_relaxed); }
  T load_acquire() const noexcept { return value_.load(std::memory_order_acquire); }
  T load_seq_cst() const noexcept { return value_.load(std::memory_order_seq_cst); }

  void store_relaxed(T v) noexcept { value_.store(v, std::memory_order_relaxed); }
  void store_release(T v) noexcept { value_.store(v, std::memory_order_release); }
  void store_seq_cst(T v) noexcept { value_.store(v, std::memory_order_seq_cst); }

  T exchange_relaxed(T v) noexcept { return value_.exchange(v, std::memory_order_relaxed); }
  T exchange_acquire(T v) noexcept { return value_.exchange(v, std::memory_order_acquire); }
  T exchange_release(T v) noexcept { return value_.exchange(v, std::memory_order_release); }
  T exchange_acq_rel(T v) noexcept { return value_.exchange(v, std::memory_order_acq_rel); }
  T exchange_seq_cst(T v) noexcept { return value_.exchange(v, std::memory_order_seq_cst); }

  /// On failure `expected` takes the value seen, read with at most acquire order.
  bool compare_exchange_relaxed(T& expected, T desired) noexcept {
    return value_.compare_exchange_strong(expected, desired, std::memory_order_relaxed,
                                          std::memory_order_relaxed);
  }
  bool compare_exchange_acquire(T& expected, T desired) noexcept {
    return value_.compare_exchange_strong(expected, desired, std::memory_order_acquire,
                                          std::memory_order_acquire);
  }
  bool compare_exchange_release(T& expected, T desired) noexcept {
    return value_.compare_exchange_strong(expected, desired, std::memory_order_release,
                                          std::memory_order_relaxed);
  }
  bool compare_exchange_acq_rel(T& expected, T desired) noexcept {
    return value_.compare_exchange_strong(expected, desired, std::memory_order_acq_rel,
                                          std::memory_order_acquire);
  }
  bool compare_exchange_seq_cst(T& expected, T desired) noexcept {
    return value_.compare_exchange_strong(expected, desired, std::memory_order_seq_cst,
                                          std::memory_order_seq_cst);
  }

  T fetch_add_relaxed(T v) noexcept { return value_.fetch_add(v, std::memory_order_relaxed); }
  T fetch_add_acquire(T v) noexcept { return value_.fetch_add(v, std::memory_order_acquire); }
  T fetch_add_release(T v) noexcept { return value_.fetch_add(v, std::memory_order_release); }
  T fetch_add_acq_rel(T v) noexcept { return value_.fetch_add(v, std::memory_order_acq_rel); }
  T fetch_add_seq_cst(T v) noexcept { return value_.fetch_add(v, std::memory_order_seq_cst); }
  T fetch_sub_relaxed(T v) noexcept { return value_.fetch_sub(v, std::memory_order_relaxed); }
  T fetch_sub_release(T v) noexcept { return value_.fetch_sub(v, std::memory_order_release); }
  T fetch_sub_acq_rel(T v) noexcept { return value_.fetch_sub(v, std::memory_order_acq_rel); }
  T fetch_sub_seq_cst(T v) noexcept { return value_.fetch_sub(v, std::memory_order_seq_cst); }
  T fetch_or_relaxed(T v) noexcept { return value_.fetch_or(v, std::memory_order_relaxed); }
  T fetch_or_acquire(T v) noexcept { return value_.fetch_or(v, std::memory_order_acquire); }
  T fetch_or_release(T v) noexcept { return value_.fetch_or(v, std::memory_order_release); }
  T fetch_or_acq_rel(T v) noexcept { return value_.fetch_or(v, std::memory_order_acq_rel); }
  T fetch_or_seq_cst(T v) noexcept { return value_.fetch_or(v, std::memory_order_seq_cst); }
  T fetch_and_relaxed(T v) noexcept { return value_.fetch_and(v, std::memory_order_relaxed); }
  T fetch_and_release(T v) noexcept { return value_.fetch_and(v, std::memory_order_release); }
  T fetch_and_acq_rel(T v) noexcept { return value_.fetch_and(v, std::memory_order_acq_rel); }
  T fetch_and_seq_cst(T v) noexcept { return value_.fetch_and(v, std::memory_order_seq_cst); }

 private:
  std::atomic<T> value_{};
};

}  // namespace interlock
