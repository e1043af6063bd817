// SPDX-License-Identifier: Apache-2.0

/// The report stream, when nobody reads it, slowly or not at all.

#include <fcntl.h>
#include <signal.h>

#include <string>
#include <thread>

#include "interlock_platform/stack_trace.hpp"
#include "platform_test_support.hpp"

namespace interlock::test {
namespace {

/// Replaces standard error by a pipe.
class piped_stderr {
 public:
  piped_stderr() {
    EXPECT_EQ(pipe2(fds_, O_CLOEXEC), 0);
    saved_ = dup(STDERR_FILENO);
    dup2(fds_[1], STDERR_FILENO);
    close(fds_[1]);
  }
  ~piped_stderr() {
    restore();
    close_reader();
  }
  piped_stderr(const piped_stderr&) = delete;
  piped_stderr& operator=(const piped_stderr&) = delete;

  int reader() const { return fds_[0]; }
  void restore() {
    if (saved_ < 0) return;
    dup2(saved_, STDERR_FILENO);
    close(saved_);
    saved_ = -1;
  }
  void close_reader() {
    if (fds_[0] >= 0) close(fds_[0]);
    fds_[0] = -1;
  }

 private:
  int fds_[2];
  int saved_;
};

std::string read_all(int fd) {
  std::string text;
  char buffer[4096];
  for (ssize_t n; (n = read(fd, buffer, sizeof(buffer))) > 0;) {
    text.append(buffer, static_cast<std::size_t>(n));
  }
  return text;
}

void write_text(const std::string& text) { platform::console_write(text.data(), text.size()); }

TEST(platform_console, goes_to_standard_error) {
  piped_stderr console;
  write_text("one\n");
  write_text("");
  write_text("two\n");
  console.restore();
  EXPECT_EQ(read_all(console.reader()), "one\ntwo\n");
}

TEST(platform_console, writes_on_after_a_part) {
  piped_stderr console;
  fcntl(STDERR_FILENO, F_SETFL, O_NONBLOCK);
  std::string text;
  while (text.size() < 1 << 20) text += std::to_string(text.size());  // more than a pipe holds
  std::string got;
  std::thread reader{[&] { got = read_all(console.reader()); }};
  write_text(text);
  console.restore();
  reader.join();
  EXPECT_EQ(got, text);
}

TEST(platform_console, gives_up_when_nobody_reads) {
  piped_stderr console;
  fcntl(STDERR_FILENO, F_SETFL, O_NONBLOCK);
  write_text(std::string(1 << 20, 'x'));
  console.restore();
  EXPECT_GE(read_all(console.reader()).size(), 4096u);
}

TEST(platform_console, a_closed_pipe_is_no_reason_to_die) {
  piped_stderr console;
  console.close_reader();
  errno = 1234;
  write_text("lost");
  const int errno_after = errno;
  sigset_t pending, mask;
  sigpending(&pending);
  pthread_sigmask(SIG_BLOCK, nullptr, &mask);
  console.restore();
  EXPECT_EQ(errno_after, 1234);
  EXPECT_EQ(sigismember(&pending, SIGPIPE), 0);
  EXPECT_EQ(sigismember(&mask, SIGPIPE), 0);
}

TEST(platform_console, a_pending_pipe_signal_of_the_process_stays_pending) {
  sigset_t pipe_signal, pending;
  sigemptyset(&pipe_signal);
  sigaddset(&pipe_signal, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe_signal, nullptr);
  raise(SIGPIPE);
  {
    piped_stderr console;
    console.close_reader();
    write_text("lost");
  }
  sigpending(&pending);
  EXPECT_EQ(sigismember(&pending, SIGPIPE), 1);
  const timespec at_once{};
  sigtimedwait(&pipe_signal, nullptr, &at_once);
  pthread_sigmask(SIG_UNBLOCK, &pipe_signal, nullptr);
}

TEST(platform_console, no_standard_error_at_all) {
  EXPECT_EQ(status_of_child([] {
              close(STDERR_FILENO);
              write_text("lost");
              return 0;
            }),
            0);
}

}  // namespace
}  // namespace interlock::test
