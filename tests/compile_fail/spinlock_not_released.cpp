// SPDX-License-Identifier: Apache-2.0
// expect: 'lock' is not held on every path
// compiler: clang

/// A path that leaves with the lock held.

#include "interlock/spinlock.hpp"

bool use(interlock::spinlock& lock, bool early) {
  lock.lock(interlock::no_mask);
#if defined(INTERLOCK_COMPILE_FAIL_CONTROL)
  lock.unlock(interlock::no_mask);
  return early;
#else
  if (early) return true;
  lock.unlock(interlock::no_mask);
  return false;
#endif
}
