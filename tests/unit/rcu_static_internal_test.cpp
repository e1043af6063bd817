// SPDX-License-Identifier: Apache-2.0

/// A program that takes from the static library only what readers and callbacks need: whatever it
/// leaves out, the threads that end in it leave the list of readers. (It must not call anything
/// else of RCU, or the linker would take more.)

#include <gtest/gtest.h>

#include <thread>

#include "interlock/rcupdate.hpp"
#include "support/rounds.hpp"

namespace interlock::test {
namespace {

constinit atomic<int> deleted{0};

struct object {
  object() = default;
  object(const object&) = delete;
  object& operator=(const object&) = delete;
  ~object() { deleted.fetch_add_relaxed(1); }
  rcu_head rcu;
};

TEST(rcu_static, threads_that_end_leave_the_list) {
  constexpr int rounds = test::rounds(1000);
  for (int i = 0; i < rounds; ++i) {
    std::thread first{[] { const guard g{rcu}; }};
    std::thread second{[] { const guard g{rcu}; }};
    delete_rcu<&object::rcu>(new object);
    first.join();
    second.join();
  }
  while (deleted.load_relaxed() != rounds) std::this_thread::yield();
}

}  // namespace
}  // namespace interlock::test
