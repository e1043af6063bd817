// SPDX-License-Identifier: Apache-2.0
// expect: requires holding (spinlock|mutex) 'lock'
// compiler: clang

/// Data that says which lock it needs.

#include "interlock/spinlock.hpp"

struct counter {
  interlock::spinlock lock;
  int value INTERLOCK_GUARDED_BY(lock) = 0;

  void add() {
#if defined(INTERLOCK_COMPILE_FAIL_CONTROL)
    const interlock::guard g{interlock::no_mask, lock};
    ++value;
#else
    ++value;
#endif
  }
};

void use(counter& c) { c.add(); }
