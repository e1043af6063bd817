// SPDX-License-Identifier: Apache-2.0
#include "explorations.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string_view>

namespace interlock::cli {

namespace {

/// A name in the folder for temporary files; the file goes with it.
class log_file {
 public:
  log_file() {
    const char* const folder = std::getenv("TMPDIR");
    path_ = std::string{folder != nullptr && *folder != '\0' ? folder : "/tmp"} +
            "/interlock-check-XXXXXX";
    const int file = ::mkostemp(path_.data(), O_CLOEXEC);
    if (file < 0) {
      path_.clear();
    } else {
      ::close(file);
    }
  }
  ~log_file() {
    if (!path_.empty()) ::unlink(path_.c_str());
  }
  log_file(const log_file&) = delete;
  log_file& operator=(const log_file&) = delete;
  [[nodiscard]] const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;
};

/// A string of JSON at `at`, which is behind its first quote; `at` is left behind its last.
std::string read_string(std::string_view line, std::size_t& at) {
  std::string text;
  while (at < line.size() && line[at] != '"') {
    if (line[at] == '\\' && at + 1 < line.size()) {
      ++at;
      if (line[at] == 'u' && at + 4 < line.size()) {
        text += static_cast<char>(
            std::strtoul(std::string{line.substr(at + 1, 4)}.c_str(), nullptr, 16));
        at += 5;
        continue;
      }
    }
    text += line[at++];
  }
  if (at < line.size()) ++at;
  return text;
}

std::vector<std::string> environment_of(const exploration_run& run, const std::string& log) {
  std::vector<std::string> all;
  for (char** at = environ; *at != nullptr; ++at) {
    // Of these only the progress line is left to the caller.
    constexpr std::string_view ours = "INTERLOCK_EXPLORE";
    constexpr std::string_view progress = "INTERLOCK_EXPLORE_PROGRESS=";
    const std::string_view word{*at};
    if (word.substr(0, ours.size()) != ours || word.substr(0, progress.size()) == progress)
      all.emplace_back(word);
  }
  all.push_back("INTERLOCK_EXPLORE=" + run.explore);
  all.push_back("INTERLOCK_EXPLORE_LOG=" + log);
  if (!run.html.empty()) all.push_back("INTERLOCK_EXPLORE_HTML=" + run.html);
  return all;
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> all;
  for (std::string& word : words) all.push_back(word.data());
  all.push_back(nullptr);
  return all;
}

}  // namespace

bool read_exploration(const std::string& line, exploration_result& result) {
  result = {};
  if (line.empty() || line.front() != '{' || line.back() != '}') return false;
  bool named = false;
  for (std::size_t at = 1; at + 1 < line.size();) {
    if (line[at] != '"') return false;
    const std::string key = read_string(line, ++at);
    if (at >= line.size() || line[at] != ':') return false;
    ++at;
    std::string value;
    if (line[at] == '"') {
      value = read_string(line, ++at);
    } else {
      while (at < line.size() && line[at] != ',' && line[at] != '}') value += line[at++];
    }
    if (key == "name") {
      result.name = value;
      named = true;
    }
    if (key == "passed") result.passed = value == "true";
    if (key == "complete") result.complete = value == "true";
    if (key == "executions") result.executions = std::strtoull(value.c_str(), nullptr, 10);
    if (key == "seconds") result.seconds = std::strtod(value.c_str(), nullptr);
    if (key == "failure") result.failure = value;
    if (key == "token") result.token = value;
    if (at < line.size() && line[at] == ',') ++at;
  }
  return named;
}

maybe_failure run_explorations(const exploration_run& run, termination& signals,
                               exploration_outcome& outcome) {
  const log_file log;
  if (log.path().empty()) {
    return fail("cannot make a temporary file: {}", describe_error(static_cast<error>(errno)));
  }
  std::vector<std::string> words{run.binary};
  words.insert(words.end(), run.arguments.begin(), run.arguments.end());
  std::vector<std::string> environment = environment_of(run, log.path());

  ::posix_spawn_file_actions_t files;
  ::posix_spawn_file_actions_init(&files);
  if (!run.output)
    ::posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  ::posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  ::posix_spawnattr_setsigmask(&attributes, &signals.inherited_mask());
  sigset_t defaults;
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGPIPE);
  sigaddset(&defaults, SIGXFSZ);
  ::posix_spawnattr_setsigdefault(&attributes, &defaults);
  ::pid_t child = -1;
  const int code = ::posix_spawn(&child, words[0].c_str(), &files, &attributes,
                                 pointers(words).data(), pointers(environment).data());
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&files);
  if (code != 0) {
    return failure{
        fmt::format("cannot run {}: {}", run.binary, describe_error(static_cast<error>(code))),
        exit_status::usage};
  }
  int status = 0;
  {
    // Until it has ended, and is a zombie still: its number is nobody else's.
    termination::action at_signal{signals, [child] { ::kill(child, SIGKILL); }};
    at_signal.set_cancel([child] { ::kill(child, SIGTERM); });
    ::siginfo_t ended{};
    while (::waitid(P_PID, static_cast<::id_t>(child), &ended, WEXITED | WNOWAIT) != 0 &&
           errno == EINTR) {
    }
    at_signal.set_cancel(nullptr);
  }
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (const int number = signals.caught(); number != 0) {
    return failure{"interrupted", exit_status::signal_base + number};
  }
  outcome.exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
  outcome.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  std::ifstream lines{log.path()};
  std::string line;
  while (std::getline(lines, line)) {
    exploration_result result;
    if (!read_exploration(line, result)) return fail("the log of {} is damaged", run.binary);
    outcome.results.push_back(std::move(result));
  }
  return {};
}

std::string test_of(const std::string& exploration) {
  return exploration.substr(0, exploration.find('#'));
}

}  // namespace interlock::cli
