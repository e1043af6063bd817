// SPDX-License-Identifier: Apache-2.0
#include "child_process.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "interlock/task.hpp"

namespace interlock::cli {

namespace {

double seconds(const ::timeval& time) noexcept {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

/// Starts it with the signal mask of before; 0, or an errno.
int start(const std::vector<std::string>& words, const sigset_t& mask, ::pid_t& child) {
  std::vector<char*> arguments;
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);

  ::posix_spawn_file_actions_t files;
  ::posix_spawn_file_actions_init(&files);
  ::posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  const int code = spawn_with_signals(arguments.data(), environ, files, mask, child);
  ::posix_spawn_file_actions_destroy(&files);
  return code;
}

/// Until the child has ended. It stays a zombie: its number is not free for another process.
void wait_for_end(::pid_t child) noexcept {
  ::siginfo_t ended{};
  while (::waitid(P_PID, static_cast<::id_t>(child), &ended, WEXITED | WNOWAIT) != 0 &&
         errno == EINTR) {
  }
}

}  // namespace

int spawn_with_signals(char* const* arguments, char* const* environment,
                       const ::posix_spawn_file_actions_t& files, const sigset_t& mask,
                       ::pid_t& child) {
  ::posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  ::posix_spawnattr_setsigmask(&attributes, &mask);
  sigset_t defaults;
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGPIPE);
  sigaddset(&defaults, SIGXFSZ);
  ::posix_spawnattr_setsigdefault(&attributes, &defaults);
  const int code = ::posix_spawn(&child, arguments[0], &files, &attributes, arguments, environment);
  ::posix_spawnattr_destroy(&attributes);
  return code;
}

void child_watch::kill_now() const noexcept {
  const ::pid_t child = child_.load();
  if (child == 0) return;
  ::kill(child, SIGKILL);
  wait_for_end(child);
}

maybe_failure run_child(const std::vector<std::string>& words, termination& signals,
                        termination::action& at_signal, child_watch& watch, child_usage& usage) {
  const deadline begin = monotonic_clock::now();
  ::pid_t child = -1;
  if (const int code = start(words, signals.inherited_mask(), child); code != 0) {
    return fail("cannot run {}: {}", words[0], describe_error(static_cast<error>(code)));
  }
  watch.child_.store(child);
  at_signal.set_cancel([child] { ::kill(child, SIGTERM); });
  int status = 0;
  struct rusage used {};
  wait_for_end(child);
  const deadline end = monotonic_clock::now();
  watch.child_.store(0);
  at_signal.set_cancel(nullptr);  // and on return nobody is about to kill it
  while (::wait4(child, &status, 0, &used) < 0 && errno == EINTR) {
  }
  if (signals.caught() != 0) return fail("interrupted");
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    return fail("{} failed ({} {})", words[0], WIFEXITED(status) ? "exit status" : "signal",
                WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
  }
  usage.seconds = std::chrono::duration<double>(end - begin).count();
  usage.cpu_seconds = seconds(used.ru_utime) + seconds(used.ru_stime);
  usage.peak_bytes = static_cast<std::size_t>(used.ru_maxrss) * 1024;
  return {};
}

}  // namespace interlock::cli
