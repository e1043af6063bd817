// SPDX-License-Identifier: Apache-2.0
// expect: (use of deleted function|call to deleted function)

/// A class is told by its address: a temporary is none.

#include "interlock/lock_class.hpp"

void classify(interlock::spinlock& lock) {
#if defined(INTERLOCK_COMPILE_FAIL_CONTROL)
  static constinit interlock::lock_class nodes{"nodes"};
  interlock::set_lock_class(lock, nodes);
#else
  interlock::set_lock_class(lock, interlock::lock_class{"nodes"});
#endif
}
