// SPDX-License-Identifier: Apache-2.0
// expect: use of deleted function|call to deleted constructor

/// A lock is where it is.

#include "interlock/mutex.hpp"

void use(interlock::mutex& m) {
#if defined(INTERLOCK_COMPILE_FAIL_CONTROL)
  interlock::mutex& same = m;
  (void)same;
#else
  interlock::mutex copy = m;
  (void)copy;
#endif
}
