// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Memory barriers that stand alone, under the kernel's names.
///
/// Prefer an order in the access itself (`a.load_acquire()`); a free barrier is for store-then-load
/// (Dekker) patterns, which no acquire or release can give.
/// Source: Linux Documentation/memory-barriers.txt; ISO C++ [atomics.fences].

#include <atomic>

namespace interlock {

/// True in a build with ThreadSanitizer. The model platform's build is instrumented in the same way,
/// but for its own machine, which does see free fences: it says so.
#if defined(INTERLOCK_TOOL_SEES_FENCES)
inline constexpr bool under_thread_sanitizer = false;
#elif defined(__SANITIZE_THREAD__)
inline constexpr bool under_thread_sanitizer = true;
#elif defined(__has_feature)
inline constexpr bool under_thread_sanitizer = __has_feature(thread_sanitizer);
#else
inline constexpr bool under_thread_sanitizer = false;
#endif

/// Full barrier: every access before it is ordered before every access after it, for all CPUs.
/// Context: any, NMI included.
/// Order:   a seq_cst fence. ThreadSanitizer does not model free fences, so under it the barrier is
///          a read-modify-write, which is no weaker on the machines that TSan runs on.
inline void smp_mb() noexcept {
  if constexpr (under_thread_sanitizer) {
    std::atomic<int> here{0};
    here.fetch_add(0, std::memory_order_seq_cst);
  } else {
    std::atomic_thread_fence(std::memory_order_seq_cst);
  }
}

/// Compiler barrier: orders accesses of this thread against handlers that interrupt it.
/// Context: any, NMI included.
/// Order:   a signal fence; no instruction. Other CPUs may see any order.
inline void barrier() noexcept { std::atomic_signal_fence(std::memory_order_seq_cst); }

}  // namespace interlock
