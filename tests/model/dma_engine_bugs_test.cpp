// SPDX-License-Identifier: Apache-2.0

/// The bugs of docs/model.md: each is a diff of the driver in examples/dma_engine, and is found. That the driver itself passes
/// the same explorations says dma_engine_test.cpp.

#include <string_view>

#include "channel_without_grace_period/driver.hpp"
#include "doorbell_without_order/driver.hpp"
#include "lock_without_irqsave/driver.hpp"
#include "model/dma_engine_support.hpp"
#include "sleep_without_second_look/driver.hpp"

namespace interlock::test {
namespace {

bool begins(const model::report& r, std::string_view line) {
  return r.text().compare(0, line.size(), line) == 0;
}

TEST(dma_engine_bugs, a_lock_of_the_handler_is_taken_with_interrupts_on) {
  const model::expectations here;
  const auto r = model::explore(one_copy<lock_without_irqsave::engine>);
  note(r);
  EXPECT_TRUE(begins(r, "WARNING: inconsistent lock state")) << r;
}

/// The client is late, or the free is.
TEST(dma_engine_bugs, a_channel_is_freed_without_a_grace_period) {
  const model::expectations here;
  const auto r =
      model::explore(user(some(20'000)), a_removal<channel_without_grace_period::engine>);
  note(r);
  EXPECT_TRUE(begins(r, "BUG: use after free") || begins(r, "BUG: data-race: free of")) << r;
}

TEST(dma_engine_bugs, a_doorbell_is_rung_without_order) {
  const model::expectations here;
  const auto r = model::explore(one_copy<doorbell_without_order::engine>);
  note(r);
  EXPECT_TRUE(begins(r, "BUG: data-race")) << r;
}

TEST(dma_engine_bugs, a_wake_is_lost) {
  const model::expectations here;
  const auto r = model::explore(user(some(20'000)), a_full_ring<sleep_without_second_look::engine>);
  note(r);
  EXPECT_TRUE(begins(r, "BUG: deadlock: no flow can go on")) << r;
}

}  // namespace
}  // namespace interlock::test
