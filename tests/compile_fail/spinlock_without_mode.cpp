// SPDX-License-Identifier: Apache-2.0
// expect: no matching (member )?function

/// A spinlock does not lock without its irq mode.

#include "interlock/spinlock.hpp"

void use(interlock::spinlock& lock) {
#if defined(INTERLOCK_COMPILE_FAIL_CONTROL)
  lock.lock(interlock::no_mask);
  lock.unlock(interlock::no_mask);
#else
  lock.lock();
  lock.unlock();
#endif
}
