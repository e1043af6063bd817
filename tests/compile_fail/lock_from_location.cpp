// SPDX-License-Identifier: Apache-2.0
// expect: (could not convert|invalid initialization|no viable conversion|no known conversion|no matching function)

/// A place in the source is no lock.

#include "interlock/mutex.hpp"

void use(const interlock::mutex& m);

void call() {
#if defined(INTERLOCK_COMPILE_FAIL_CONTROL)
  const interlock::mutex m;
  use(m);
#else
  use(interlock::location::current());
#endif
}
