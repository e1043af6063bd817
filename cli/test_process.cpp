// SPDX-License-Identifier: Apache-2.0
#include "test_process.hpp"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <system_error>

#include "child_process.hpp"

namespace interlock::cli {

namespace {

std::vector<char*> pointers(const std::vector<std::string>& words) {
  std::vector<char*> all;
  for (const std::string& word : words) all.push_back(const_cast<char*>(word.c_str()));
  all.push_back(nullptr);
  return all;
}

/// With the signal mask of before; 0, or an errno.
int spawn(const test_command& command, const sigset_t& mask, ::pid_t& child) {
  ::posix_spawn_file_actions_t files;
  ::posix_spawn_file_actions_init(&files);
  if (!command.output.empty()) {
    ::posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, command.output.c_str(),
                                       O_WRONLY | O_CREAT | O_TRUNC, 0600);
  }
  if (command.quiet) {
    ::posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  }
  const int code = spawn_with_signals(pointers(command.words).data(),
                                      pointers(command.environment).data(), files, mask, child);
  ::posix_spawn_file_actions_destroy(&files);
  return code;
}

}  // namespace

scratch_folder::scratch_folder() {
  const char* const named = std::getenv("TMPDIR");
  std::error_code wrong;
  // The programs may go to another folder.
  path_ = std::filesystem::absolute(named != nullptr && *named != '\0' ? named : "/tmp", wrong)
              .string() +
          "/interlock-check-XXXXXX";
  if (wrong || ::mkdtemp(path_.data()) == nullptr) path_.clear();
}

void scratch_folder::remove() noexcept {
  std::error_code ignored;
  if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  path_.clear();
}

test_processes::test_processes(termination& signals, scratch_folder& folder)
    : signals_{signals}, at_signal_{signals, [this, &folder] {
                                      signal_all(SIGKILL);
                                      folder.remove();
                                    }} {
  at_signal_.set_cancel([this] {
    signal_all(SIGTERM);
    one_ended_.notify_all();
  });
}

test_processes::~test_processes() {
  at_signal_.set_cancel(nullptr);
  signal_all(SIGKILL);
  end ignored{};
  while (count() != 0) (void)wait(std::chrono::milliseconds::max(), ignored);
}

void test_processes::signal_all(int number) {
  const std::lock_guard hold{lock_};
  cancelled_ = true;
  // Those that have ended are zombies still: their numbers are nobody else's.
  for (const child& c : children_) ::kill(c.pid, number);
}

int test_processes::start(const test_command& command, std::size_t id) {
  const std::lock_guard hold{lock_};
  if (cancelled_) return ECANCELED;
  ::pid_t pid = -1;
  if (const int code = spawn(command, signals_.inherited_mask(), pid); code != 0) return code;
  child& c = children_.emplace_back();
  c.pid = pid;
  c.id = id;
  try {
    c.waits = std::thread{[this, &c] {
      ::siginfo_t ended{};
      while (::waitid(P_PID, static_cast<::id_t>(c.pid), &ended, WEXITED | WNOWAIT) != 0 &&
             errno == EINTR) {
      }
      const std::lock_guard hold_it{lock_};
      c.ended = true;
      one_ended_.notify_all();
    }};
  } catch (const std::system_error& problem) {
    ::kill(pid, SIGKILL);
    while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    children_.pop_back();
    return problem.code().value();
  }
  return 0;
}

void test_processes::kill(std::size_t id) {
  const std::lock_guard hold{lock_};
  for (const child& c : children_) {
    if (c.id == id) ::kill(c.pid, SIGKILL);
  }
}

std::size_t test_processes::count() const {
  const std::lock_guard hold{lock_};
  return children_.size();
}

bool test_processes::wait(std::chrono::milliseconds at_most, end& ended) {
  std::unique_lock hold{lock_};
  const auto first = [this] {
    return std::find_if(children_.begin(), children_.end(), [](const child& c) { return c.ended; });
  };
  const auto some = [&] { return first() != children_.end(); };
  if (at_most == std::chrono::milliseconds::max()) {
    one_ended_.wait(hold, some);
  } else if (!one_ended_.wait_for(hold, at_most, some)) {
    return false;
  }
  const auto at = first();
  ended = {at->id, 0};
  while (::waitpid(at->pid, &ended.status, 0) < 0 && errno == EINTR) {
  }
  std::list<child> gone;
  gone.splice(gone.end(), children_, at);
  hold.unlock();
  gone.front().waits.join();
  return true;
}

}  // namespace interlock::cli
