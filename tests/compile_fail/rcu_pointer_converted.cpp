// SPDX-License-Identifier: Apache-2.0
// expect: cannot convert|no viable conversion

/// Its value is reached through the functions that say why it may be read.

#include "interlock/rcupdate.hpp"

int* use(const interlock::rcu_pointer<int>& p) {
#if defined(INTERLOCK_COMPILE_FAIL_CONTROL)
  return interlock::rcu_access_pointer(p);
#else
  return p;
#endif
}
