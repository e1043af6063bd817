// SPDX-License-Identifier: Apache-2.0

/// Descriptor sets by epoll, event descriptors by eventfd.

#include "interlock_platform/poller.hpp"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <climits>

#include "interlock_platform/park.hpp"
#include "native.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::platform {
namespace {

constexpr std::uint64_t wake_cookie = 0;
constexpr std::size_t most_events = 64;

result<void> control(poller& p, int operation, int fd, std::uint64_t cookie) noexcept {
  if (cookie == wake_cookie) return error::invalid_argument;
  epoll_event event{};
  event.events = EPOLLIN | EPOLLONESHOT;
  event.data.u64 = cookie;
  return epoll_ctl(p.epoll_fd, operation, fd, &event) == 0 ? result<void>{} : last_error();
}

/// 0 until epoll_pwait2 (Linux 5.11) has proved to be missing.
constinit atomic<std::uint32_t> no_pwait2{0};

int wait_ns(int epoll_fd, epoll_event* events, int capacity, ktime left) noexcept {
#if defined(SYS_epoll_pwait2)
  if (no_pwait2.load_relaxed() == 0) {
    constexpr ktime::rep ns_per_second = 1'000'000'000;
    const timespec relative{static_cast<time_t>(left.count() / ns_per_second),
                            static_cast<long>(left.count() % ns_per_second)};
    const long n =
        syscall(SYS_epoll_pwait2, epoll_fd, events, capacity, &relative, nullptr, sizeof(long));
    if (n >= 0 || (errno != ENOSYS && errno != EPERM)) return static_cast<int>(n);
    no_pwait2.store_relaxed(1);
  }
#endif
  // Milliseconds, rounded up: waking early would make the caller spin until its deadline.
  constexpr ktime::rep ns_per_ms = 1'000'000;
  const ktime::rep ms = left.count() / ns_per_ms + (left.count() % ns_per_ms != 0 ? 1 : 0);
  return epoll_wait(epoll_fd, events, capacity, ms < INT_MAX ? static_cast<int>(ms) : INT_MAX);
}

/// One wait; the number of events, 0 when the time is up, -1 with errno EINTR to be repeated.
int wait_once(int epoll_fd, epoll_event* events, int capacity, deadline until) noexcept {
  if (until == no_deadline) return epoll_wait(epoll_fd, events, capacity, -1);
  const deadline present = now();
  const bool expired = until <= present;
  const int n = wait_ns(epoll_fd, events, capacity, expired ? ktime::zero() : until - present);
  if (n != 0 || expired) return n;
  errno = EINTR;  // the clock says that it is not yet time
  return -1;
}

}  // namespace

result<poller> open_poller() noexcept {
  poller p;
  p.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (p.epoll_fd < 0) return last_error();
  result<int> wake = open_event_fd();
  if (!wake) {
    close_poller(p);
    return wake.error();
  }
  p.wake_fd = *wake;
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = wake_cookie;
  if (epoll_ctl(p.epoll_fd, EPOLL_CTL_ADD, p.wake_fd, &event) != 0) {
    const error e = last_error();
    close_poller(p);
    return e;
  }
  return p;
}

void close_poller(poller& p) noexcept {
  if (p.wake_fd >= 0) close_fd(p.wake_fd);
  if (p.epoll_fd >= 0) close_fd(p.epoll_fd);
  p = {};
}

result<void> poller_add(poller& p, int fd, std::uint64_t cookie) noexcept {
  return control(p, EPOLL_CTL_ADD, fd, cookie);
}

result<void> poller_rearm(poller& p, int fd, std::uint64_t cookie) noexcept {
  return control(p, EPOLL_CTL_MOD, fd, cookie);
}

void poller_remove(poller& p, int fd) noexcept {
  const errno_keeper keeper;
  epoll_ctl(p.epoll_fd, EPOLL_CTL_DEL, fd, nullptr);
}

std::size_t poller_wait(poller& p, std::uint64_t* cookies, std::size_t capacity, deadline until,
                        deadline_kind /*kind*/) noexcept {
  epoll_event events[most_events];
  const int wanted = static_cast<int>(capacity < most_events ? capacity : most_events);
  int n;
  do {
    n = wait_once(p.epoll_fd, events, wanted, until);
  } while (n < 0 && errno == EINTR);
  std::size_t count = 0;
  for (int i = 0; i < n; ++i) {
    if (events[i].data.u64 == wake_cookie) {
      drain_event_fd(p.wake_fd);
    } else {
      cookies[count++] = events[i].data.u64;
    }
  }
  return count;
}

void poller_wake(poller& p) noexcept { signal_event_fd(p.wake_fd); }

result<int> open_event_fd() noexcept {
  const int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  return fd >= 0 ? result<int>{fd} : last_error();
}

void signal_event_fd(int fd) noexcept {
  const errno_keeper keeper;
  constexpr std::uint64_t one = 1;
  // It fails only when the counter is full, and then it is readable already.
  [[maybe_unused]] const ssize_t written = write(fd, &one, sizeof(one));
}

/// Where the kernel cannot read such a descriptor without waiting (older ones a timerfd, or no
/// preadv2 at all), it is asked first. Then another reader may still come between. ThreadSanitizer
/// does not know preadv2, and would miss that what came before the write comes before the read.
bool drain_event_fd(int fd) noexcept {
  const errno_keeper keeper;
  std::uint64_t count = 0;
  constexpr auto all = static_cast<ssize_t>(sizeof(count));
  if constexpr (!under_thread_sanitizer) {
    const iovec whole{&count, sizeof(count)};
    constexpr off_t where_it_stands = -1;
    const ssize_t done = preadv2(fd, &whole, 1, where_it_stands, RWF_NOWAIT);
    if (done >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS && errno != EPERM)) return done == all;
  }
  pollfd readable{fd, POLLIN, 0};
  if (poll(&readable, 1, 0) != 1 || (readable.revents & POLLIN) == 0) return false;
  return read(fd, &count, sizeof(count)) == all;
}

/// EINTR is no error here: Linux has closed the descriptor.
void close_fd(int fd) noexcept {
  const errno_keeper keeper;
  close(fd);
}

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform
