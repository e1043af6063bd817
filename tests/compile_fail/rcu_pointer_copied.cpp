// SPDX-License-Identifier: Apache-2.0
// expect: use of deleted function|call to deleted constructor

/// A copy would be a read without a reader.

#include "interlock/rcupdate.hpp"

void use(const interlock::rcu_pointer<int>& p) {
#if defined(INTERLOCK_COMPILE_FAIL_CONTROL)
  const interlock::rcu_pointer<int>& same = p;
  (void)same;
#else
  const interlock::rcu_pointer<int> copy = p;
  (void)copy;
#endif
}
