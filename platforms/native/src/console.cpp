// SPDX-License-Identifier: Apache-2.0

/// The report stream, standard error, and the end of the process.

#include <poll.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <cstdlib>

#include "interlock_platform/stack_trace.hpp"
#include "native.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::platform {
namespace {

/// Writing to a pipe that nobody reads raises SIGPIPE, which would end the process: it is blocked
/// meanwhile, and taken back if the write raised it.
class pipe_signal_blocker {
 public:
  pipe_signal_blocker() noexcept {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    sigset_t pending;
    sigpending(&pending);
    was_pending_ = sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
  }
  ~pipe_signal_blocker() {
    constexpr timespec at_once{};
    if (raised && !was_pending_) sigtimedwait(&pipe_, nullptr, &at_once);
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  pipe_signal_blocker(const pipe_signal_blocker&) = delete;
  pipe_signal_blocker& operator=(const pipe_signal_blocker&) = delete;

  bool raised = false;

 private:
  sigset_t pipe_;
  sigset_t before_;
  bool was_pending_;
};

/// A report is worth a moment of patience with a full pipe, not a hang.
bool wait_for_room() noexcept {
  constexpr int patience_ms = 200;
  pollfd p{STDERR_FILENO, POLLOUT, 0};
  return poll(&p, 1, patience_ms) == 1;
}

}  // namespace

void console_write(const char* text, std::size_t size) noexcept {
  const errno_keeper keeper;
  pipe_signal_blocker blocker;
  while (size > 0) {
    const ssize_t written = write(STDERR_FILENO, text, size);
    if (written > 0) {
      text += written;
      size -= static_cast<std::size_t>(written);
    } else if (errno == EAGAIN) {
      if (!wait_for_room()) return;
    } else if (errno != EINTR) {
      blocker.raised = errno == EPIPE;
      return;
    }
  }
}

void die() noexcept { std::abort(); }

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform
