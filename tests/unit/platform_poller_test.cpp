// SPDX-License-Identifier: Apache-2.0

/// Waiting for event descriptors.

#include "interlock_platform/poller.hpp"

#include <cstdlib>
#include <thread>

#include "interlock_platform/park.hpp"
#include "platform_test_support.hpp"

namespace interlock::test {
namespace {

using platform::poller;
using std::chrono::milliseconds;

class platform_poller : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = platform::open_poller();
    ASSERT_TRUE(opened);
    p = *opened;
    auto event = platform::open_event_fd();
    ASSERT_TRUE(event);
    fd = *event;
  }
  void TearDown() override {
    platform::close_fd(fd);
    platform::close_poller(p);
  }
  std::size_t poll_now() { return platform::poller_wait(p, cookies, 4, expired_deadline); }

  poller p;
  int fd = -1;
  std::uint64_t cookies[4] = {};
};

TEST_F(platform_poller, reports_a_readable_descriptor_once_until_rearmed) {
  ASSERT_TRUE(platform::poller_add(p, fd, 77));
  EXPECT_EQ(poll_now(), 0u);
  platform::signal_event_fd(fd);
  ASSERT_EQ(poll_now(), 1u);
  EXPECT_EQ(cookies[0], 77u);
  EXPECT_EQ(poll_now(), 0u) << "one-shot";
  ASSERT_TRUE(platform::poller_rearm(p, fd, 78));
  ASSERT_EQ(poll_now(), 1u) << "level-triggered: it is readable still";
  EXPECT_EQ(cookies[0], 78u);
}

TEST_F(platform_poller, a_removed_descriptor_is_silent) {
  ASSERT_TRUE(platform::poller_add(p, fd, 77));
  platform::signal_event_fd(fd);
  platform::poller_remove(p, fd);
  EXPECT_EQ(poll_now(), 0u);
  ASSERT_TRUE(platform::poller_add(p, fd, 77)) << "it can be added again";
  EXPECT_EQ(poll_now(), 1u);
  platform::poller_remove(p, fd);
  platform::poller_remove(p, fd);  // no harm
}

TEST_F(platform_poller, fills_up_to_the_capacity) {
  int fds[6];
  for (std::uint64_t i = 0; i < 6; ++i) {
    fds[i] = *platform::open_event_fd();
    ASSERT_TRUE(platform::poller_add(p, fds[i], i + 1));
    platform::signal_event_fd(fds[i]);
  }
  EXPECT_EQ(poll_now(), 4u);
  EXPECT_EQ(poll_now(), 2u);
  EXPECT_EQ(poll_now(), 0u);
  EXPECT_EQ(platform::poller_wait(p, cookies, 0, no_deadline), 0u);
  for (const int f : fds) platform::close_fd(f);
}

TEST_F(platform_poller, a_wake_ends_the_next_wait_and_no_other) {
  platform::poller_wake(p);
  platform::poller_wake(p);
  EXPECT_EQ(platform::poller_wait(p, cookies, 4, no_deadline), 0u);
  const deadline until = platform::now() + milliseconds{5};
  EXPECT_EQ(platform::poller_wait(p, cookies, 4, until), 0u);
  EXPECT_GE(platform::now(), until) << "the second wake was taken with the first";
}

TEST_F(platform_poller, a_wake_ends_the_present_wait) {
  atomic<std::uint32_t> id{0};
  std::thread waiter{[&] {
    id.store_release(gettid());  // [U1] pairs with [U2]
    EXPECT_EQ(platform::poller_wait(p, cookies, 4, no_deadline), 0u);
  }};
  while (id.load_acquire() == 0) platform::yield();  // [U2] pairs with [U1]
  wait_until_asleep(id.load_relaxed());
  platform::poller_wake(p);
  waiter.join();
}

TEST_F(platform_poller, an_event_ends_the_present_wait_also_with_a_deadline) {
  ASSERT_TRUE(platform::poller_add(p, fd, 5));
  atomic<std::uint32_t> id{0};
  std::thread waiter{[&] {
    id.store_release(gettid());  // [U1] pairs with [U2]
    const deadline far = platform::now() + std::chrono::hours{1};
    EXPECT_EQ(platform::poller_wait(p, cookies, 4, far), 1u);
  }};
  while (id.load_acquire() == 0) platform::yield();  // [U2] pairs with [U1]
  wait_until_asleep(id.load_relaxed());
  platform::signal_event_fd(fd);
  waiter.join();
}

TEST_F(platform_poller, waits_for_the_deadline_not_shorter) {
  for (const ktime length : {ktime{1}, ktime{300'000}, ktime{milliseconds{10}}}) {
    const deadline until = platform::now() + length;
    EXPECT_EQ(platform::poller_wait(p, cookies, 4, until), 0u);
    EXPECT_GE(platform::now(), until);
  }
}

TEST_F(platform_poller, errors_are_exact) {
  EXPECT_EQ(platform::poller_add(p, fd, 0).error(), error::invalid_argument);
  EXPECT_EQ(platform::poller_add(p, -1, 1).error(), error::bad_file_descriptor);
  EXPECT_EQ(platform::poller_rearm(p, fd, 1).error(), error::no_such_file_or_directory);
  ASSERT_TRUE(platform::poller_add(p, fd, 1));
  EXPECT_EQ(platform::poller_add(p, fd, 2).error(), error::file_exists);
}

}  // namespace
}  // namespace interlock::test
