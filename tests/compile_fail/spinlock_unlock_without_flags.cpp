// SPDX-License-Identifier: Apache-2.0
// expect: no matching (member )?function

/// An irqsave unlock needs the flags of its lock.

#include "interlock/spinlock.hpp"

void use(interlock::spinlock& lock) {
#if defined(INTERLOCK_COMPILE_FAIL_CONTROL)
  const interlock::irq_flags flags = lock.lock(interlock::irqsave);
  lock.unlock(interlock::irqsave, flags);
#else
  const interlock::irq_flags flags = lock.lock(interlock::irqsave);
  lock.unlock(interlock::irqsave);
#endif
}
