// SPDX-License-Identifier: Apache-2.0
// expect: no match for .operator=.|no viable overloaded '='|use of deleted function|overload resolution selected deleted operator

/// An updater publishes through rcu_assign_pointer.

#include "interlock/rcupdate.hpp"

void use(interlock::rcu_pointer<int>& p, int* value) {
#if defined(INTERLOCK_COMPILE_FAIL_CONTROL)
  interlock::rcu_assign_pointer(p, value);
#else
  p = value;
#endif
}
