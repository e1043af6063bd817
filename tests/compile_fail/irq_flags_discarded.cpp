// SPDX-License-Identifier: Apache-2.0
// expect: nodiscard

/// Flags that nobody keeps cannot be restored.

#include "interlock/spinlock.hpp"

void use(interlock::spinlock& lock) {
#if defined(INTERLOCK_COMPILE_FAIL_CONTROL)
  const interlock::irq_flags flags = lock.lock(interlock::irqsave);
  lock.unlock(interlock::irqsave, flags);
#else
  lock.lock(interlock::irqsave);
  lock.unlock(interlock::irqsave, interlock::irq_flags::enabled);
#endif
}
