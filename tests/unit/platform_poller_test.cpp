// SPDX-License-Identifier: Apache-2.0

/// Waiting for descriptors, and event descriptors.

#include "interlock_platform/poller.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/timerfd.h>

#include <cstdlib>
#include <thread>

#include "interlock_platform/park.hpp"
#include "platform_test_support.hpp"

namespace interlock::test {
namespace {

using platform::poller;
using std::chrono::milliseconds;

/// While it lives, no descriptor can be opened.
class no_descriptors {
 public:
  no_descriptors() {
    getrlimit(RLIMIT_NOFILE, &before_);
    const rlimit none{0, before_.rlim_max};
    setrlimit(RLIMIT_NOFILE, &none);
  }
  ~no_descriptors() { setrlimit(RLIMIT_NOFILE, &before_); }
  no_descriptors(const no_descriptors&) = delete;
  no_descriptors& operator=(const no_descriptors&) = delete;

 private:
  rlimit before_;
};

std::size_t count_descriptors() {
  std::size_t count = 0;
  for (int fd = 0; fd < 1024; ++fd) {
    if (fcntl(fd, F_GETFD) >= 0) ++count;
  }
  return count;
}

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
  const int regular = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  EXPECT_EQ(platform::poller_add(p, regular, 3).error(), error::operation_not_permitted);
  close(regular);
}

TEST_F(platform_poller, descriptors_are_closed_on_exec) {
  for (const int f : {p.epoll_fd, p.wake_fd, fd}) {
    EXPECT_EQ(fcntl(f, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
  }
}

TEST(platform_poller_open, out_of_descriptors) {
  const std::size_t before = count_descriptors();
  {
    const no_descriptors limit;
    EXPECT_EQ(platform::open_poller().error(), error::too_many_files_open);
    EXPECT_EQ(platform::open_event_fd().error(), error::too_many_files_open);
  }
  EXPECT_EQ(count_descriptors(), before);
}

TEST(platform_poller_open, out_of_descriptors_half_way_leaks_none) {
  const std::size_t before = count_descriptors();
  const int lowest_free = dup(STDERR_FILENO);
  close(lowest_free);
  rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  const rlimit one_more{static_cast<rlim_t>(lowest_free) + 1, limit.rlim_max};
  setrlimit(RLIMIT_NOFILE, &one_more);
  const auto opened = platform::open_poller();
  setrlimit(RLIMIT_NOFILE, &limit);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error(), error::too_many_files_open);
  EXPECT_EQ(count_descriptors(), before);
}

TEST(platform_poller_open, close_forgets_the_descriptors) {
  const std::size_t before = count_descriptors();
  poller p = *platform::open_poller();
  platform::close_poller(p);
  EXPECT_EQ(p.epoll_fd, -1);
  EXPECT_EQ(p.wake_fd, -1);
  platform::close_poller(p);
  EXPECT_EQ(count_descriptors(), before);
}

TEST(platform_event_fd, signals_merge_until_drained) {
  const int fd = *platform::open_event_fd();
  pollfd poll_entry{fd, POLLIN, 0};
  EXPECT_FALSE(platform::drain_event_fd(fd)) << "and does not block";
  EXPECT_EQ(poll(&poll_entry, 1, 0), 0);
  platform::signal_event_fd(fd);
  platform::signal_event_fd(fd);
  EXPECT_EQ(poll(&poll_entry, 1, 0), 1);
  EXPECT_TRUE(platform::drain_event_fd(fd));
  EXPECT_FALSE(platform::drain_event_fd(fd));
  platform::close_fd(fd);
  EXPECT_EQ(fcntl(fd, F_GETFD), -1);
}

TEST(platform_event_fd, draining_a_descriptor_that_blocks_does_not_wait) {
  for (const int fd : {eventfd(0, EFD_CLOEXEC), timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC)}) {
    ASSERT_GE(fd, 0);
    EXPECT_FALSE(platform::drain_event_fd(fd));
    platform::close_fd(fd);
  }
  const int fd = eventfd(1, EFD_CLOEXEC);
  EXPECT_TRUE(platform::drain_event_fd(fd));
  EXPECT_FALSE(platform::drain_event_fd(fd));
  platform::close_fd(fd);
}

TEST(platform_event_fd, a_full_counter_does_not_block) {
  const int fd = *platform::open_event_fd();
  const std::uint64_t most = UINT64_MAX - 1;
  ASSERT_EQ(write(fd, &most, sizeof(most)), static_cast<ssize_t>(sizeof(most)));
  errno = 1234;
  platform::signal_event_fd(fd);
  EXPECT_EQ(errno, 1234);
  EXPECT_TRUE(platform::drain_event_fd(fd));
  platform::close_fd(fd);
}

}  // namespace
}  // namespace interlock::test
