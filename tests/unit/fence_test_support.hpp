// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What the tests of fences share: fences of a maker who counts what is asked of him.

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <new>
#include <vector>

#include "interlock/dma_fence.hpp"
#include "support/report_recorder.hpp"
#include "support/tasks.hpp"

namespace interlock::test {

/// Waits for the other thread of a race: close behind it, but not at the cost of its processor.
template <class Condition>
void follow(Condition condition) {
  constexpr int spins = 200;
  for (int i = 0; !condition(); ++i) {
    if (i < spins) {
      platform::cpu_relax();
    } else {
      schedule();
    }
  }
}

/// A fence with every op but wait and release, so that its ops are detached at the signal.
struct mock_fence {
  dma_fence base;
  atomic<int> enabled{0};
  atomic<int> peeked{0};
  atomic<int> hinted{0};
  atomic<bool> accepts{true};      ///< what enable_signaling returns
  atomic<bool> done{false};        ///< what the peek returns
  atomic<int> error_on_enable{0};  ///< an errno to set before refusing
  bool irqs_were_off = false;
  bool lock_was_held = false;

  static mock_fence& of(dma_fence* fence) {
    return *INTERLOCK_CONTAINER_OF(fence, mock_fence, base);
  }

  static const char* driver_name(dma_fence*) { return "mock"; }
  static const char* timeline_name(dma_fence*) { return "line"; }
  static bool enable_signaling(dma_fence* fence) {
    mock_fence& self = of(fence);
    self.enabled.fetch_add_relaxed(1);
    self.irqs_were_off = irqs_disabled();
    self.lock_was_held = fence->lock.is_locked();
    if (self.error_on_enable.load_relaxed() != 0) {
      fence->set_error(static_cast<error>(self.error_on_enable.load_relaxed()));
    }
    return self.accepts.load_relaxed();
  }
  static bool signaled(dma_fence* fence) {
    of(fence).peeked.fetch_add_relaxed(1);
    return of(fence).done.load_acquire();
  }
  static void set_deadline(dma_fence* fence, std::int64_t) {
    of(fence).hinted.fetch_add_relaxed(1);
  }

  static constexpr dma_fence_ops ops{driver_name, timeline_name, enable_signaling, signaled,
                                     nullptr,     nullptr,       set_deadline};
};
static_assert(offsetof(mock_fence, base) == 0, "freed by std::free of the fence");

/// A counted mock fence.
inline ref_ptr<dma_fence> make_mock(std::uint64_t context = 1, std::uint64_t seqno = 1,
                                    std::uint32_t flags = 0,
                                    const dma_fence_ops& ops = mock_fence::ops) {
  void* const memory = std::malloc(sizeof(mock_fence));
  auto* const fence = new (memory) mock_fence{.base{ops, context, seqno, flags}};
  return ref_ptr<dma_fence>::adopt(&fence->base);
}

inline mock_fence& mock(const ref_ptr<dma_fence>& fence) { return mock_fence::of(fence.get()); }

/// A callback that counts its runs.
struct counting_callback {
  dma_fence_cb cb;
  atomic<int> runs{0};
  bool irqs_were_off = false;
  bool lock_was_held = false;
  bool was_unlinked = false;
  bool saw_signaled = false;
  std::vector<counting_callback*>* order = nullptr;

  static void run(dma_fence* fence, dma_fence_cb* cb) {
    counting_callback& self = *INTERLOCK_CONTAINER_OF(cb, counting_callback, cb);
    self.irqs_were_off = irqs_disabled();
    self.lock_was_held = fence->lock.is_locked();
    self.was_unlinked = list_empty(cb->node);
    self.saw_signaled = fence->test_signaled_flag();
    if (self.order != nullptr) self.order->push_back(&self);
    self.runs.fetch_add_release(1);
  }
  result<void> add_to(dma_fence& fence) { return fence.add_callback(cb, run); }
};

}  // namespace interlock::test
