// SPDX-License-Identifier: Apache-2.0

/// What the child of a fork finds of a fence that another thread was about to signal: the list is
/// detached, a time stands in its place, and the flag is not set yet.

#include <gtest/gtest.h>

#include "fence/seqno_timeline.hpp"
#include "seqno_test_support.hpp"

namespace interlock::test {
namespace {

void leave_parent(seqno_timeline& timeline) {
  const guard g{irqsave, timeline.lock};
  detail::leave_parent(timeline);
}

TEST(seqno_fork, a_fence_amid_its_signal_has_no_callbacks_in_the_child) {
  mock_provider provider;
  const auto timeline = make_timeline(provider);
  const auto fence = fence_at(timeline, 1);
  fence->enable_sw_signaling();
  fence->timestamp_ns = 0x1234;  // over `next`: no address
  leave_parent(*timeline);
  EXPECT_TRUE(list_empty(fence->cb_list));
  EXPECT_EQ(complete(timeline, 1), 1u);
  EXPECT_EQ(fence->status(), 1);
}

TEST(seqno_fork, a_fence_that_its_signaller_had_settled_is_signalled_in_the_child) {
  mock_provider provider;
  const auto timeline = make_timeline(provider);
  const auto fence = fence_at(timeline, 1);
  fence->enable_sw_signaling();
  fence->flags.fetch_or_relaxed(1u << dma_fence_flag::user_bits);  // settled, by who signals next
  leave_parent(*timeline);
  EXPECT_EQ(complete(timeline, 1), 1u);
  EXPECT_EQ(fence->status(), 1);
}

TEST(seqno_fork, callbacks_of_the_parent_are_not_called) {
  mock_provider provider;
  const auto timeline = make_timeline(provider);
  const auto fence = fence_at(timeline, 1);
  dma_fence_cb cb;
  ASSERT_TRUE(fence->add_callback(cb, [](dma_fence*, dma_fence_cb*) { ADD_FAILURE(); }));
  leave_parent(*timeline);
  EXPECT_TRUE(list_empty(cb.node));
  EXPECT_EQ(complete(timeline, 1), 1u);
}

}  // namespace
}  // namespace interlock::test
