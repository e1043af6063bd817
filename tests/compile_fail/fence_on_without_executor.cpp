// SPDX-License-Identifier: Apache-2.0
// expect: constraint

// What coroutines resume on has a post() that does not throw.

#include "interlock/coroutine.hpp"

struct executor {
#if defined(INTERLOCK_COMPILE_FAIL_CONTROL)
  void post(interlock::task_work& work) noexcept { work.run(work); }
#else
  void post(interlock::task_work& work) { work.run(work); }
#endif
};

void wait_for(executor& e, interlock::ref_ptr<interlock::dma_fence> fence) {
  (void)interlock::fence_on(e, std::move(fence));
}
