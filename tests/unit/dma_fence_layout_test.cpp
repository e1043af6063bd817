// SPDX-License-Identifier: Apache-2.0

/// Objects that cross a C boundary look the same from both sides; see dma_fence_layout_twin.c.

#include "fence_test_support.hpp"
#include "interlock/seqno_buffer.hpp"
#include "interlock/wait_queue.hpp"

extern "C" {
extern const std::size_t c_layout[];
extern const std::size_t c_layout_size;
const char* c_driver_name(interlock::dma_fence* fence);
int c_is_signaled(const interlock::dma_fence* fence);
}

namespace interlock::test {
namespace {

#define FIELD(type, member) sizeof(type::member), offsetof(type, member)
constexpr std::size_t cpp_layout[] = {
    sizeof(list_head),
    FIELD(list_head, next),
    FIELD(list_head, prev),
    sizeof(rcu_head),
    FIELD(rcu_head, next),
    FIELD(rcu_head, func),
    sizeof(spinlock),
    sizeof(wait_queue),
    FIELD(wait_queue, lock),
    FIELD(wait_queue, sleepers),
    sizeof(dma_fence_ops),
    FIELD(dma_fence_ops, get_driver_name),
    FIELD(dma_fence_ops, get_timeline_name),
    FIELD(dma_fence_ops, enable_signaling),
    FIELD(dma_fence_ops, signaled),
    FIELD(dma_fence_ops, wait),
    FIELD(dma_fence_ops, release),
    FIELD(dma_fence_ops, set_deadline),
    sizeof(dma_fence_cb),
    FIELD(dma_fence_cb, node),
    FIELD(dma_fence_cb, func),
    sizeof(dma_fence),
    FIELD(dma_fence, ops),
    FIELD(dma_fence, cb_list),
    FIELD(dma_fence, timestamp_ns),
    FIELD(dma_fence, rcu),
    FIELD(dma_fence, context),
    FIELD(dma_fence, seqno),
    FIELD(dma_fence, flags),
    FIELD(dma_fence, refs),
    FIELD(dma_fence, lock),
    FIELD(dma_fence, error_code),
    FIELD(dma_fence, provider_code),
    sizeof(seqno_cell),
    FIELD(seqno_cell, value),
    FIELD(seqno_cell, waiters),
    FIELD(seqno_cell, doorbell),
};
constexpr std::size_t cpp_layout_size = sizeof(cpp_layout) / sizeof(cpp_layout[0]);

static_assert(std::is_standard_layout_v<dma_fence> && std::is_standard_layout_v<dma_fence_ops> &&
              std::is_standard_layout_v<dma_fence_cb> && std::is_standard_layout_v<rcu_head> &&
              std::is_standard_layout_v<spinlock> && std::is_standard_layout_v<list_head> &&
              std::is_standard_layout_v<wait_queue> && std::is_standard_layout_v<seqno_cell>);

TEST(dma_fence_layout, is_the_same_in_c) {
  ASSERT_EQ(c_layout_size, cpp_layout_size);
  for (std::size_t i = 0; i < cpp_layout_size; ++i) {
    EXPECT_EQ(c_layout[i], cpp_layout[i]) << "entry " << i << " of the tables";
  }
}

TEST(dma_fence_layout, a_c_module_reads_a_fence) {
  const auto fence = make_mock();
  EXPECT_STREQ(c_driver_name(fence.get()), "mock");
  EXPECT_EQ(c_is_signaled(fence.get()), 0);
  fence->signal();
  EXPECT_EQ(c_is_signaled(fence.get()), 1);
}

}  // namespace
}  // namespace interlock::test
