// SPDX-License-Identifier: Apache-2.0

/// The descriptors of the native platform: pollers and events as the system sees them.

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/timerfd.h>

#include <cstdlib>

#include "interlock_platform/poller.hpp"
#include "platform_test_support.hpp"

namespace interlock::test {
namespace {

using platform::poller;

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

TEST(platform_poller_open, descriptors_are_closed_on_exec) {
  poller p = *platform::open_poller();
  const int fd = *platform::open_event_fd();
  for (const int f : {p.epoll_fd, p.wake_fd, fd}) {
    EXPECT_EQ(fcntl(f, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
  }
  platform::close_fd(fd);
  platform::close_poller(p);
}

TEST(platform_poller_open, regular_files_are_refused) {
  poller p = *platform::open_poller();
  const int regular = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  EXPECT_EQ(platform::poller_add(p, regular, 3).error(), error::operation_not_permitted);
  close(regular);
  platform::close_poller(p);
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
