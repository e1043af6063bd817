// SPDX-License-Identifier: Apache-2.0
// expect: nodiscard

/// A guard without a name unlocks at once.

#include "interlock/spinlock.hpp"

void use(interlock::spinlock& lock) {
#if defined(INTERLOCK_COMPILE_FAIL_CONTROL)
  const interlock::guard g{interlock::irqsave, lock};
#else
  interlock::guard{interlock::irqsave, lock};
#endif
}
