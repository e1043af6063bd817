// SPDX-License-Identifier: Apache-2.0

/// The base class that fills the ops table.

#include "interlock/fence_class.hpp"

#include <memory>

#include "fence_test_support.hpp"
#include "interlock/rcupdate.hpp"

namespace interlock::test {
namespace {

using fence_class_test = report_test;

struct bare_fence : fence_class<bare_fence> {
  using fence_class::fence_class;
  const char* driver_name_of() const noexcept { return "bare"; }
  const char* timeline_name_of() const noexcept { return "line"; }
};

/// With a virtual function, so that it does not begin with its dma_fence.
struct whole_fence : fence_class<whole_fence> {
  whole_fence(std::uint64_t number, std::shared_ptr<int> what)
      : fence_class{7, number, dma_fence_flag::seqno64}, owned{std::move(what)} {}
  virtual ~whole_fence() = default;

  const char* driver_name_of() const noexcept { return "whole"; }
  const char* timeline_name_of() const noexcept { return "line"; }
  bool enable_signaling() noexcept { return ++enabled, true; }
  bool peek_signaled() noexcept { return done; }
  void deadline_hint(deadline when) noexcept { hint = when; }

  std::shared_ptr<int> owned;
  int enabled = 0;
  bool done = false;
  deadline hint{};
};

TEST_F(fence_class_test, leaves_out_ops_that_are_not_there) {
  const auto fence = make_fence<bare_fence>(3u, 4u).value();
  const guard g{rcu};
  const dma_fence_ops& ops = *rcu_dereference(fence->ops);
  EXPECT_EQ(ops.enable_signaling, nullptr);
  EXPECT_EQ(ops.signaled, nullptr);
  EXPECT_EQ(ops.set_deadline, nullptr);
  EXPECT_EQ(ops.wait, nullptr);
  EXPECT_NE(ops.release, nullptr);
  EXPECT_STREQ(fence->driver_name(), "bare");
  EXPECT_EQ(fence->context, 3u);
  EXPECT_EQ(fence->seqno, 4u);
}

TEST_F(fence_class_test, calls_the_members) {
  const auto fence = make_fence<whole_fence>(9u, nullptr).value();
  EXPECT_EQ(fence->context, 7u);
  fence->enable_sw_signaling();
  EXPECT_EQ(fence->enabled, 1);
  fence->set_deadline(deadline{ktime{5}});
  EXPECT_EQ(fence->hint, deadline{ktime{5}});
  EXPECT_FALSE(fence->is_signaled());
  fence->done = true;
  EXPECT_TRUE(fence->is_signaled());
  const guard g{rcu};
  EXPECT_STREQ(fence->driver_name(), "whole") << "its ops are never detached";
}

TEST_F(fence_class_test, is_destroyed_a_grace_period_after_the_last_reference) {
  auto owned = std::make_shared<int>(1);
  const std::weak_ptr<int> watch = owned;
  auto fence = make_fence<whole_fence>(1u, std::move(owned)).value();
  ref_ptr<dma_fence> base = fence;  // a reference of the base counts the same
  fence.reset();
  base->signal();
  {
    const guard g{rcu};
    base.reset();
    EXPECT_FALSE(watch.expired()) << "a reader is inside";
  }
  rcu_barrier();
  EXPECT_TRUE(watch.expired());
}

}  // namespace
}  // namespace interlock::test
