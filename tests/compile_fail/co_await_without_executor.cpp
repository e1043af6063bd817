// SPDX-License-Identifier: Apache-2.0
// expect: await

// A coroutine must not resume in a fence's callback, which may be a hardirq: an executor is named.

#include "interlock/coroutine.hpp"

struct detached {
  struct promise_type {
    detached get_return_object() noexcept { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    void unhandled_exception() noexcept {}
  };
};

detached wait_for(interlock::task_queue& queue, interlock::ref_ptr<interlock::dma_fence> fence) {
#if defined(INTERLOCK_COMPILE_FAIL_CONTROL)
  (void)co_await interlock::fence_on(queue, fence);
#else
  (void)queue;
  co_await fence;
#endif
}
