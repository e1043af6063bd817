// SPDX-License-Identifier: Apache-2.0
// expect: nodiscard

/// An interruptible lock may not have been taken.

#include "interlock/mutex.hpp"

void use(interlock::mutex& m) {
#if defined(INTERLOCK_COMPILE_FAIL_CONTROL)
  if (m.lock_interruptible()) m.unlock();
#else
  m.lock_interruptible();
  m.unlock();
#endif
}
