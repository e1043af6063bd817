// SPDX-License-Identifier: Apache-2.0

/// The driver of examples/dma_engine, explored.

#include "dma_engine/driver.hpp"

#include <cstring>

#include "model/library_support.hpp"

namespace interlock::test {
namespace {

/// A copy that one caller asks for, and what came of it.
struct request {
  std::byte from[8]{};
  std::byte to[8]{};

  explicit request(unsigned seed) noexcept {
    for (std::byte& b : from) b = static_cast<std::byte>(++seed);
  }
  result<ref_ptr<dma_fence>> ask(dma::engine& engine) noexcept {
    return engine.copy(0, {from, to, sizeof from});
  }
  [[nodiscard]] bool is_copied() const noexcept {
    return std::memcmp(from, to, sizeof from) == 0;
  }
  /// Done, with the data there, or refused because the channel went away.
  void settle(dma::engine& engine) noexcept {
    const auto fence = ask(engine);
    if (!fence) {
      EXPECT_EQ(fence.error(), error::no_such_device);
      return;
    }
    (*fence)->wait();
    if ((*fence)->status() == 1) {
      EXPECT_TRUE(is_copied());
    } else {
      EXPECT_EQ((*fence)->status(), to_negative_errno(error::no_such_device));
    }
  }
};

void copy_once() {
  dma::engine engine;
  EXPECT_TRUE(engine.add_channel(0, 1));
  request r{1};
  const auto fence = r.ask(engine);
  EXPECT_TRUE(fence);
  (*fence)->wait();
  EXPECT_EQ((*fence)->status(), 1);
  EXPECT_TRUE(r.is_copied());
}

TEST(dma_engine, copies) {
  const model::expectations here;
  model::options o = all(1);
  o.strategy = model::strategy::portfolio;
  passes(model::explore(o, copy_once));
}

TEST(dma_engine, copies_full) {
  const model::expectations here;
  model::options o = all(1);
  passes(model::explore(o, copy_once));
}

TEST(dma_engine, a_channel_goes_while_it_is_looked_up) {
  const model::expectations here;
  passes(model::explore(some(20000), [] {
    dma::engine engine;
    EXPECT_TRUE(engine.add_channel(0, 1));
    kthread client = start("client", [&] { request{1}.settle(engine); });
    EXPECT_TRUE(engine.remove_channel(0));
    (void)client.join();
  }));
}

TEST(dma_engine, a_full_ring_is_waited_for) {
  const model::expectations here;
  passes(model::explore(some(20000), [] {
    dma::engine engine;
    EXPECT_TRUE(engine.add_channel(0, 1));
    kthread client = start("client", [&] { request{1}.settle(engine); });
    request{2}.settle(engine);
    (void)client.join();
  }));
}

}  // namespace
}  // namespace interlock::test
