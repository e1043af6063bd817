// SPDX-License-Identifier: Apache-2.0
// expect: nodiscard

// A bounded wait that timed out looks like one that succeeded, to who does not ask.

#include "interlock/dma_fence.hpp"

void wait_a_while(interlock::dma_fence& fence, interlock::deadline until) {
#if defined(INTERLOCK_COMPILE_FAIL_CONTROL)
  while (!fence.wait_until(until)) {
  }
#else
  fence.wait_until(until);
#endif
}
