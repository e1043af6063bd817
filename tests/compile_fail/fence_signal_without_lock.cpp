// SPDX-License-Identifier: Apache-2.0
// expect: requires holding spinlock
// compiler: clang

#include "interlock/dma_fence.hpp"

void signal(interlock::dma_fence& fence) {
#if defined(INTERLOCK_COMPILE_FAIL_CONTROL)
  const interlock::guard g{interlock::irqsave, fence.lock};
#endif
  fence.signal_locked();
}
