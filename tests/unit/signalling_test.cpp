// SPDX-License-Identifier: Apache-2.0

/// Fence signalling sections.

#include "fence_test_support.hpp"
#include "interlock/fence_class.hpp"
#include "interlock/fence_fd.hpp"
#include "interlock/seqno_fence.hpp"

namespace interlock::test {
namespace {

using signalling_test = report_test;

TEST_F(signalling_test, a_section_is_seen_inside_only) {
  EXPECT_FALSE(dma_fence_in_signalling());
  {
    const guard g{signalling};
    EXPECT_TRUE(dma_fence_in_signalling());
  }
  EXPECT_FALSE(dma_fence_in_signalling());
}

TEST_F(signalling_test, sections_nest) {
  const bool outer = dma_fence_begin_signalling();
  EXPECT_FALSE(outer);
  const bool inner = dma_fence_begin_signalling();
  EXPECT_TRUE(inner);
  dma_fence_end_signalling(inner);
  EXPECT_TRUE(dma_fence_in_signalling());
  dma_fence_end_signalling(outer);
  EXPECT_FALSE(dma_fence_in_signalling());
}

TEST_F(signalling_test, a_section_in_atomic_context_is_nothing) {
  const guard atomic_context{no_preempt};
  const bool cookie = dma_fence_begin_signalling();
  EXPECT_TRUE(cookie);
  EXPECT_FALSE(dma_fence_in_signalling());
  dma_fence_end_signalling(cookie);
}

TEST_F(signalling_test, a_section_belongs_to_its_task) {
  const guard g{signalling};
  start("other", [] { EXPECT_FALSE(dma_fence_in_signalling()); }).join();
}

TEST_F(signalling_test, an_end_without_begin_is_reported) {
  dma_fence_end_signalling(false);
  EXPECT_TRUE(reports.took(report_kind::fence_misuse, "WARNING: "));
  EXPECT_FALSE(dma_fence_in_signalling());
}

TEST_F(signalling_test, allocation_inside_is_reported) {
  dma_fence_might_allocate();
  const guard g{signalling};
  dma_fence_might_allocate();
  EXPECT_TRUE(reports.took(report_kind::fence_misuse, "signalling_test.cpp:"));
}

struct some_fence : fence_class<some_fence> {
  using fence_class::fence_class;
  const char* driver_name_of() const noexcept { return "some"; }
  const char* timeline_name_of() const noexcept { return "line"; }
};

TEST_F(signalling_test, what_allocates_in_this_layer_says_so) {
  const auto fence = make_mock();
  const guard g{signalling};
  EXPECT_TRUE(make_fence<some_fence>(1u, 1u).has_value());
  EXPECT_TRUE(reports.took(report_kind::fence_misuse, "allocation inside"));
  EXPECT_TRUE(dma_fence_make_signaled(deadline{}).has_value());
  EXPECT_TRUE(reports.took(report_kind::fence_misuse, "allocation inside"));
  EXPECT_TRUE(fence_fd::open(*fence).has_value());
  EXPECT_TRUE(reports.took(report_kind::fence_misuse, "allocation inside"));
}

TEST_F(signalling_test, signalling_waiting_and_arming_inside_are_fine) {
  const auto fence = make_mock();
  const guard g{signalling};
  fence->enable_sw_signaling();
  fence->signal();
  fence->wait();
}

}  // namespace
}  // namespace interlock::test
