// SPDX-License-Identifier: Apache-2.0
// expect: no match for .operator\*.|base operand of .->. has non-pointer type|indirection requires pointer operand|is not a pointer

/// A reader follows the pointer through rcu_dereference.

#include "interlock/rcupdate.hpp"

int use(const interlock::rcu_pointer<int>& p) {
#if defined(INTERLOCK_COMPILE_FAIL_CONTROL)
  return *interlock::rcu_dereference(p);
#else
  return *p;
#endif
}
