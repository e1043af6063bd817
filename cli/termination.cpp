// SPDX-License-Identifier: Apache-2.0
#include "termination.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <utility>

#include "failure.hpp"

namespace interlock::cli {

namespace {

/// A signal ends the program within a second: this much is for an orderly end. The rest is for a
/// machine that is busy, and for a kernel that takes down gigabytes.
constexpr int grace_ms = 500;

bool is_ignored(int number) noexcept {
  struct sigaction now {};
  return ::sigaction(number, nullptr, &now) == 0 && now.sa_handler == SIG_IGN;
}

}  // namespace

termination::termination() {
  sigemptyset(&watched_);
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    if (!is_ignored(number)) sigaddset(&watched_, number);
  }
  ::pthread_sigmask(SIG_BLOCK, &watched_, &inherited_);
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);
  signal_fd_ = ::signalfd(-1, &watched_, SFD_CLOEXEC);
  stop_fd_ = ::eventfd(0, EFD_CLOEXEC);
  if (signal_fd_ < 0 || stop_fd_ < 0) {
    // Signals end the program the hard way then; unfinished files have no name.
    ::pthread_sigmask(SIG_SETMASK, &inherited_, nullptr);
    return;
  }
  thread_ = std::thread{[this] { serve(); }};
}

termination::~termination() {
  if (thread_.joinable()) {
    const std::uint64_t one = 1;
    if (::write(stop_fd_, &one, sizeof one) == sizeof one) thread_.join();
  }
  if (signal_fd_ >= 0) ::close(signal_fd_);
  if (stop_fd_ >= 0) ::close(stop_fd_);
}

void termination::serve() {
  ::pollfd watched[2] = {{stop_fd_, POLLIN, 0}, {signal_fd_, POLLIN, 0}};
  int timeout = -1;
  while (true) {
    const int ready = ::poll(watched, 2, timeout);
    if (ready < 0) continue;  // EINTR
    if (watched[0].revents != 0) return;
    ::signalfd_siginfo taken{};
    if (ready == 0 || caught() != 0) end_process(caught());  // overdue, or asked for twice
    if (::read(signal_fd_, &taken, sizeof taken) != sizeof taken) continue;
    caught_.store(static_cast<int>(taken.ssi_signo));
    cancel_now();
    timeout = grace_ms;
  }
}

void termination::cancel_now() {
  const std::lock_guard hold{lock_};
  if (cancel_) cancel_();
}

void termination::end_process(int number) {
  {
    const std::lock_guard hold{lock_};
    if (abandon_) abandon_();
  }
  fmt::print(stderr, "\ninterlock: ended by signal {}\n", number);
  ::_exit(exit_status::signal_base + number);
}

termination::action::action(termination& owner, std::function<void()> abandon) : owner_{owner} {
  const std::lock_guard hold{owner.lock_};
  owner.abandon_ = std::move(abandon);
}

void termination::action::set_cancel(std::function<void()> cancel) {
  const std::lock_guard hold{owner_.lock_};
  owner_.cancel_ = std::move(cancel);
  if (owner_.caught() != 0 && owner_.cancel_) owner_.cancel_();
}

termination::action::~action() {
  const std::lock_guard hold{owner_.lock_};
  owner_.cancel_ = nullptr;
  owner_.abandon_ = nullptr;
}

}  // namespace interlock::cli
