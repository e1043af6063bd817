// SPDX-License-Identifier: Apache-2.0
// expect: (class template argument deduction failed|no viable constructor or deduction guide)

/// Nor does a guard of one.

#include "interlock/spinlock.hpp"

void use(interlock::spinlock& lock) {
#if defined(INTERLOCK_COMPILE_FAIL_CONTROL)
  interlock::guard g{interlock::irqsave, lock};
#else
  interlock::guard g{lock};
#endif
}
