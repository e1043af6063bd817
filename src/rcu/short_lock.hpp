// SPDX-License-Identifier: Apache-2.0
#pragma once

/// `short_lock`: RCU's own lock for tasks, held for a bounded time.
///
/// Not a `spinlock`: its word names no owner, so the child of a fork can put it back, and it leaves
/// the context as it was, so callbacks run under it in a context that is theirs alone.
/// The word is 0 when free, 1 when held, 2 when held and perhaps awaited.
/// Contexts: task; handlers never take it.
/// Ordering: [K1] lock acquires what [K2] unlock released.
/// Source: Drepper, "Futexes Are Tricky" (2011), mutex3.

#include <cstdint>

#include "interlock/annotate.hpp"
#include "interlock/atomic.hpp"
#include "interlock_platform/park.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::detail {

class INTERLOCK_CAPABILITY("rcu lock") short_lock {
 public:
  constexpr short_lock() noexcept = default;
  short_lock(const short_lock&) = delete;
  short_lock& operator=(const short_lock&) = delete;

  void lock() noexcept INTERLOCK_ACQUIRE() INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
    if (try_lock()) return;
    while (word_.exchange_acquire(2) != 0) {  // [K1] pairs with [K2]
      platform::park(word_, 2, no_deadline);
    }
  }

  [[nodiscard]] bool try_lock() noexcept INTERLOCK_TRY_ACQUIRE(true) {
    std::uint32_t seen = 0;
    return word_.compare_exchange_acquire(seen, 1);  // [K1] pairs with [K2]
  }

  /// True if somebody may have waited.
  bool unlock() noexcept INTERLOCK_RELEASE() {
    if (word_.exchange_release(0) != 2) return false;  // [K2] pairs with [K1]
    platform::unpark(word_, 1);
    return true;
  }

  /// In the child of a fork, where whoever held it does not exist.
  void reset() noexcept { word_.store_relaxed(0); }

 private:
  atomic<std::uint32_t> word_{0};
};

class INTERLOCK_SCOPED_CAPABILITY short_guard {
 public:
  explicit short_guard(short_lock& lock) noexcept INTERLOCK_ACQUIRE(lock) : lock_{lock} {
    lock_.lock();
  }
  short_guard(const short_guard&) = delete;
  short_guard& operator=(const short_guard&) = delete;
  ~short_guard() INTERLOCK_RELEASE() { lock_.unlock(); }

 private:
  short_lock& lock_;
};

}  // namespace interlock::inline INTERLOCK_PLATFORM::detail
