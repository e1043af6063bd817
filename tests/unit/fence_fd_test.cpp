// SPDX-License-Identifier: Apache-2.0

/// Fences as event descriptors.

#include "interlock/fence_fd.hpp"

#include "fence_test_support.hpp"
#include "interlock_platform/poller.hpp"
#include "support/rounds.hpp"

namespace interlock::test {
namespace {

using fence_fd_test = report_test;

/// True if the descriptor is readable now, as a loop would find it; takes nothing out.
class readiness {
 public:
  readiness() : poller_{platform::open_poller().value()} {}
  ~readiness() { platform::close_poller(poller_); }
  bool of(int fd) {
    EXPECT_TRUE(platform::poller_add(poller_, fd, 1).has_value());
    std::uint64_t cookie = 0;
    const bool ready = platform::poller_wait(poller_, &cookie, 1, expired_deadline) == 1;
    platform::poller_remove(poller_, fd);
    return ready;
  }

 private:
  platform::poller poller_;
};

TEST_F(fence_fd_test, becomes_readable_at_the_signal_and_stays_so) {
  const auto fence = make_mock();
  const fence_fd fd = fence_fd::open(*fence).value();
  readiness ready;
  EXPECT_GE(fd.get(), 0);
  EXPECT_EQ(&fd.fence(), fence.get());
  EXPECT_EQ(mock(fence).enabled.load_relaxed(), 1);
  EXPECT_FALSE(ready.of(fd.get()));
  fence->signal();
  EXPECT_TRUE(ready.of(fd.get()));
  EXPECT_TRUE(ready.of(fd.get()));
}

TEST_F(fence_fd_test, becomes_readable_on_error_too) {
  const auto fence = make_mock();
  const fence_fd fd = fence_fd::open(*fence).value();
  fence->set_error(error::io_error);
  fence->signal();
  EXPECT_TRUE(readiness{}.of(fd.get()));
  EXPECT_EQ(fd.fence().status(), -EIO);
}

TEST_F(fence_fd_test, a_signalled_fence_is_readable_at_once) {
  const auto fence = make_mock();
  fence->signal();
  const fence_fd fd = fence_fd::open(*fence).value();
  EXPECT_TRUE(readiness{}.of(fd.get()));
}

TEST_F(fence_fd_test, keeps_its_fence_and_lets_it_go) {
  auto fence = make_mock();
  dma_fence& raw = *fence;
  {
    fence_fd fd = fence_fd::open(*fence).value();
    EXPECT_EQ(raw.refs.read(), 2u);
    fence_fd moved{std::move(fd)};
    EXPECT_EQ(fd.get(), -1);
    EXPECT_GE(moved.get(), 0);
    moved = fence_fd{};
    EXPECT_EQ(moved.get(), -1);
    EXPECT_EQ(raw.refs.read(), 1u);
    EXPECT_TRUE(list_empty(raw.cb_list));
  }
  fence->signal();
}

TEST_F(fence_fd_test, closing_races_with_the_signal) {
  constexpr int rounds = test::rounds(500);
  ref_ptr<dma_fence> fence;
  atomic<int> round{0};
  atomic<int> finished{0};
  kthread signaller = start("signaller", [&] {
    for (int r = 1; r <= rounds; ++r) {
      follow([&] { return round.load_acquire() >= r; });
      fence->signal();
      finished.store_release(r);
    }
  });
  for (int r = 1; r <= rounds; ++r) {
    fence = make_mock();
    {
      const fence_fd fd = fence_fd::open(*fence).value();
      round.store_release(r);
    }
    // The number is free again: were the callback still to write, it would hit this one.
    const int reused = platform::open_event_fd().value();
    follow([&] { return finished.load_acquire() >= r; });
    ASSERT_FALSE(platform::drain_event_fd(reused));
    platform::close_fd(reused);
  }
  signaller.join();
}

}  // namespace
}  // namespace interlock::test
