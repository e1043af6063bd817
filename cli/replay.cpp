// SPDX-License-Identifier: Apache-2.0
#include "replay.hpp"

#include <fmt/core.h>
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "explorations.hpp"

namespace interlock::cli {

namespace {

/// Does not return unless there is no gdb.
int debug(const exploration_run& run, const termination& signals) {
  std::vector<std::string> words{"gdb", "-q", "-ex", "set breakpoint pending on"};
  const auto tell = [&words](const char* command) {
    words.emplace_back("-ex");
    words.emplace_back(command);
  };
  // Where the machine, the race detector and the program's own reports end an execution.
  tell("break interlock::machine::machine::fail");
  tell("break interlock::machine::machine::report_race");
  tell("break interlock_machine_console");
  // Crashes are failures of the execution too: the machine takes them.
  tell("handle SIGSEGV SIGBUS SIGFPE SIGILL nostop noprint pass");
  tell("run");
  words.emplace_back("--args");
  words.push_back(run.binary);
  words.insert(words.end(), run.arguments.begin(), run.arguments.end());
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  ::setenv("INTERLOCK_EXPLORE", run.explore.c_str(), 1);
  ::sigprocmask(SIG_SETMASK, &signals.inherited_mask(), nullptr);
  ::signal(SIGPIPE, SIG_DFL);
  ::signal(SIGXFSZ, SIG_DFL);
  ::execvp("gdb", pointers.data());
  fmt::print(stderr, "interlock: cannot run gdb: {}\n", std::strerror(errno));
  return exit_status::failure;
}

}  // namespace

void add_replay_options(CLI::App& verb, replay_options& options) {
  verb.add_option("BINARY", options.binary, "The test binary in which it failed")
      ->required()
      ->check(CLI::ExistingFile);
  verb.add_option("TOKEN", options.token, "As the failure named it")->required();
  verb.add_option("ARGUMENT", options.arguments, "What the binary is given, behind --");
  verb.add_option("--only", options.only, "The exploration: the others are not run")
      ->type_name("NAME");
  verb.add_option("--filter", options.filter, "Of its GoogleTest tests: those that match")
      ->type_name("PATTERN");
  verb.add_option("--html", options.html, "Write the execution as a page to step through")
      ->type_name("FILE");
  verb.add_flag("--gdb", options.gdb, "In gdb, which stops where it fails");
  verb.footer(
      "Exit status: 1 if the execution fails, as it should; 0 if it passes; 2 if it could not be "
      "run.\n"
      "Examples:\n"
      "  interlock replay ./ring_test 2fusc.ab2c8b6a3 --only ring.drops_nothing\n"
      "  interlock replay ./ring_test 2fusc.ab2c8b6a3 --only ring.drops_nothing --html out.html\n");
}

int replay(const replay_options& options, termination& signals) {
  if (options.token.find(',') != std::string::npos || options.only.find(',') != std::string::npos) {
    fmt::print(stderr, "interlock: a token or a name has no comma\n");
    return exit_status::usage;
  }
  exploration_run run;
  run.binary = options.binary;
  if (run.binary.find('/') == std::string::npos) run.binary.insert(0, "./");
  run.arguments = options.arguments;
  // The name is its test's, unless the program has given it one.
  if (!options.filter.empty()) {
    run.arguments.push_back("--gtest_filter=" + options.filter);
  } else if (options.only.find('.') != std::string::npos &&
             options.only.find(' ') == std::string::npos) {
    run.arguments.push_back("--gtest_filter=" + test_of(options.only));
  }
  run.explore = "replay=" + options.token;
  if (!options.only.empty()) run.explore += ",only=" + options.only;
  run.html = options.html;
  run.output = true;
  if (options.gdb) return debug(run, signals);
  exploration_outcome outcome;
  if (const maybe_failure wrong = run_explorations(run, signals, outcome)) {
    fmt::print(stderr, "interlock: {}\n", wrong->message);
    return wrong->status;
  }
  if (outcome.results.empty()) {
    fmt::print(stderr, "interlock: {} ran no exploration{}\n", run.binary,
               options.only.empty() ? "" : fmt::format(" named '{}'", options.only));
    return exit_status::usage;
  }
  bool failed = false;
  for (const exploration_result& r : outcome.results) {
    if (r.failure.rfind("not a replay token", 0) == 0) {
      fmt::print(stderr, "interlock: {}\n", r.failure);
      return exit_status::usage;
    }
    fmt::print("{}: {}\n", r.name, r.passed ? "passed: it does not fail any more" : r.failure);
    failed = failed || !r.passed;
  }
  return failed || outcome.signal != 0 ? exit_status::failure : exit_status::success;
}

}  // namespace interlock::cli
