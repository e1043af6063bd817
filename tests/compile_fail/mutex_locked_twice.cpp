// SPDX-License-Identifier: Apache-2.0
// expect: acquiring mutex 'm' that is already held
// compiler: clang

/// A mutex is not recursive.

#include "interlock/mutex.hpp"

void use(interlock::mutex& m) {
  const interlock::guard g{m};
#if defined(INTERLOCK_COMPILE_FAIL_CONTROL)
  (void)m;
#else
  m.lock();
  m.unlock();
#endif
}
