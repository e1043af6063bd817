// SPDX-License-Identifier: Apache-2.0

/// The driver of examples/dma_engine, explored.

#include "dma_engine/driver.hpp"

#include "model/dma_engine_support.hpp"

namespace interlock::test {
namespace {

TEST(dma_engine, copies) {
  const model::expectations here;
  passes(model::explore(some(20'000), one_copy<dma::engine>));
}

TEST(dma_engine, a_channel_goes_while_it_is_looked_up) {
  const model::expectations here;
  passes(model::explore(some(20'000), a_removal<dma::engine>));
}

TEST(dma_engine, a_full_ring_is_waited_for) {
  const model::expectations here;
  passes(model::explore(some(20'000), a_full_ring<dma::engine>));
}

}  // namespace
}  // namespace interlock::test
