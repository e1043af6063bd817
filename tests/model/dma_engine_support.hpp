// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What is explored of the driver in examples/dma_engine, and of its variants.

#include <cstring>

#include "model/library_support.hpp"

namespace interlock::test {

/// A copy that one caller asks for, and what came of it.
struct request {
  std::byte from[8]{};
  std::byte to[8]{};

  explicit request(unsigned seed) noexcept {
    for (std::byte& b : from) b = static_cast<std::byte>(++seed);
  }
  /// Done, with the data there; or refused, because the channel went away.
  template <class Engine>
  void settle(Engine& engine, bool may_be_refused, unsigned channel = 0) noexcept {
    const auto fence = engine.copy(channel, {from, to, sizeof from});
    if (fence) (*fence)->wait();
    if (fence && (*fence)->status() == 1) {
      EXPECT_EQ(std::memcmp(from, to, sizeof from), 0);
    } else {
      EXPECT_TRUE(may_be_refused);
      EXPECT_EQ(fence ? (*fence)->status() : to_negative_errno(fence.error()),
                to_negative_errno(error::no_such_device));
    }
  }
};

/// One copy, from the doorbell to the end of its fence.
template <class Engine>
void one_copy() {
  Engine engine;
  EXPECT_TRUE(engine.add_channel(0, 1));
  request{1}.settle(engine, false);
}

/// A channel is removed while it is looked up, and used.
template <class Engine>
void a_removal() {
  Engine engine;
  EXPECT_TRUE(engine.add_channel(0, 1));
  kthread client = start("client", [&] { request{1}.settle(engine, true); });
  EXPECT_TRUE(engine.remove_channel(0));
  (void)client.join();
}

/// Two clients, and a ring with space for one copy.
template <class Engine>
void a_full_ring() {
  Engine engine;
  EXPECT_TRUE(engine.add_channel(0, 1));
  kthread client = start("client", [&] { request{1}.settle(engine, false); });
  request{2}.settle(engine, false);
  (void)client.join();
}

/// A client for each channel; one goes on for another job.
template <class Engine>
void two_channels() {
  Engine engine;
  EXPECT_TRUE(engine.add_channel(0, 2));
  EXPECT_TRUE(engine.add_channel(1, 2));
  kthread client = start("client", [&] { request{1}.settle(engine, false, 1); });
  request{2}.settle(engine, false, 0);
  request{3}.settle(engine, false, 1);
  (void)client.join();
}

}  // namespace interlock::test
