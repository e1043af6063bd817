// SPDX-License-Identifier: Apache-2.0

/// The driver of examples/dma_engine, explored.

#include "dma_engine/driver.hpp"

#include "model/dma_engine_support.hpp"

namespace interlock::test {
namespace {

TEST(dma_engine, copies) {
  const model::expectations here;
  passes(model::explore(user(some(10'000)), one_copy<dma::engine>));
}

/// Of one copy it ends: two CPUs, full preemption.
TEST(dma_engine, copies_in_each_way) {
  const model::expectations here;
  passes_all(model::explore(user(all()), one_copy<dma::engine>));
}

TEST(dma_engine, a_channel_goes_while_it_is_looked_up) {
  const model::expectations here;
  passes(model::explore(user(some(10'000)), a_removal<dma::engine>));
}

TEST(dma_engine, a_full_ring_is_waited_for) {
  const model::expectations here;
  passes(model::explore(user(some(10'000)), a_full_ring<dma::engine>));
}

TEST(dma_engine, two_channels_work_at_once) {
  const model::expectations here;
  passes(model::explore(user(some(5'000)), two_channels<dma::engine>));
}

TEST(dma_engine, works_with_store_buffers_and_interrupts_anywhere) {
  const model::expectations here;
  model::options o = full(some(2'000));
  o.memory = model::memory::tso;
  for (const auto how : {model::strategy::pct, model::strategy::pos}) {
    o.strategy = how;
    passes(model::explore(o, one_copy<dma::engine>));
    passes(model::explore(o, a_removal<dma::engine>));
    passes(model::explore(o, a_full_ring<dma::engine>));
  }
}

}  // namespace
}  // namespace interlock::test
