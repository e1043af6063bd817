// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Locks that stay held across a fork, by the dozen: taken by one function and dropped by another.
/// Preemption is off already by the lock of their list, and its count has no room for each of them.

#include "interlock/spinlock.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::detail {

inline void hold_across_fork(spinlock& lock) noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  lock.lock(no_mask);
  preempt_enable();
}

inline void let_go_after_fork(spinlock& lock) noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  preempt_disable();
  lock.unlock(no_mask);
}

}  // namespace interlock::inline INTERLOCK_PLATFORM::detail
