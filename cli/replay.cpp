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
  if (!run.filter.empty()) words.push_back("--gtest_filter=" + run.filter);
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  ::setenv("INTERLOCK_EXPLORE", run.explore.c_str(), 1);
  ::sigprocmask(SIG_SETMASK, &signals.inherited_mask(), nullptr);
  ::signal(SIGPIPE, SIG_DFL);
  ::signal(SIGXFSZ, SIG_DFL);
  ::execvp("gdb", pointers.data());
  fmt::print(stderr, "interlock: cannot run gdb: {}{}\n", std::strerror(errno),
             errno == ENOENT ? "; without --gdb the execution is told as text" : "");
  return exit_status::usage;
}

/// "2fusc.ab2": CPUs, preemption, granularity, points, memory, and the choices.
bool is_like_a_token(const std::string& text) {
  return text.size() > 5 && text[5] == '.' && text[0] >= '1' && text[0] <= '8' &&
         text.find('/') == std::string::npos;
}

/// Empty, or what is missing, and the way out.
std::string what_is_missing(const replay_options& options) {
  constexpr const char* whole =
      "the line `replay:` at the end of a report, or `interlock check`, has all of the command";
  if (options.binary.empty()) return fmt::format("a test binary and a token are wanted: {}", whole);
  if (options.token.empty() && is_like_a_token(options.binary)) {
    return fmt::format("the test binary is wanted before the token {}: {}", options.binary, whole);
  }
  if (::access(options.binary.c_str(), F_OK) != 0)
    return fmt::format("there is no file '{}'", options.binary);
  if (options.token.empty())
    return fmt::format("a token is wanted behind {}: {}", options.binary, whole);
  return {};
}

/// One test's, and no pattern.
bool names_a_test(const std::string& filter) {
  return !filter.empty() && filter.find_first_of("*?:-,") == std::string::npos;
}

}  // namespace

void add_replay_options(CLI::App& verb, replay_options& options) {
  // Both are wanted: `replay` says so itself, with the way out.
  verb.add_option("BINARY", options.binary, "The test binary in which it failed");
  verb.add_option("TOKEN", options.token,
                  "Which execution: as its failure was listed, 2fusc.ab2c8b6a3 or the like");
  verb.add_option("ARGUMENT", options.arguments, "Given to the binary; behind --");
  verb.add_option("--only", options.only, "The exploration; without it each gets the token")
      ->type_name("NAME");
  verb.add_option("--filter", options.filter,
                  "Only the GoogleTest tests that match [the test that --only names]")
      ->type_name("PATTERN");
  verb.add_option("--html", options.html, "Write the execution as a page to step through")
      ->type_name("FILE");
  verb.add_option("--trace", options.trace,
                  "Write the execution as a trace for https://ui.perfetto.dev")
      ->type_name("FILE");
  verb.add_flag("--gdb", options.gdb, "Run it in gdb, which stops where it fails");
  verb.footer(
      "`interlock check` and the last line of each report give the whole command.\n"
      "Exit status: 1 if the execution fails, as it should; 0 if it passes; 2 if it could not be "
      "run.\n"
      "Examples:\n"
      "  interlock replay ./ring_test 2fusc.ab2c8b6a3 --only ring.drops_nothing\n"
      "  interlock replay ./ring_test 2fusc.ab2c8b6a3 --only ring.drops_nothing --html out.html\n"
      "  interlock replay ./ring_test 2fusc.ab2c8b6a3 --only 'dma line' --filter ring.wraps "
      "--gdb\n");
}

int replay(const replay_options& options, termination& signals) {
  if (const std::string missing = what_is_missing(options); !missing.empty()) {
    fmt::print(stderr, "interlock: {}\n", missing);
    return exit_status::usage;
  }
  if (options.token.find(',') != std::string::npos || options.only.find(',') != std::string::npos) {
    fmt::print(stderr, "interlock: neither a token nor the name of an exploration has a comma\n");
    return exit_status::usage;
  }
  exploration_run run;
  run.binary = options.binary;
  if (run.binary.find('/') == std::string::npos) run.binary.insert(0, "./");
  run.arguments = options.arguments;
  run.html = options.html;
  run.trace = options.trace;
  run.output = true;
  // The name is its test's, unless the program has given it one.
  const bool guessed = options.filter.empty() && options.only.find('.') != std::string::npos &&
                       options.only.find(' ') == std::string::npos;
  run.filter = guessed ? test_of(options.only) : options.filter;
  const auto words = [&] {
    std::string text = "replay=" + options.token;
    if (!options.only.empty()) text += ",only=" + options.only;
    if (names_a_test(run.filter)) text += ",test=" + run.filter;
    return text;
  };
  run.explore = words();
  if (options.gdb) return debug(run, signals);
  exploration_outcome outcome;
  maybe_failure wrong = run_explorations(run, signals, outcome);
  if (!wrong && guessed && outcome.results.empty() && outcome.bad_ends.empty()) {
    run.filter.clear();  // no such test: the name is one that the program has given
    run.explore = words();
    wrong = run_explorations(run, signals, outcome);
  }
  if (wrong) {
    fmt::print(stderr, "interlock: {}\n", wrong->message);
    return wrong->status;
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
  for (const bad_end& end : outcome.bad_ends) {
    if (end.signal == 0) continue;
    fmt::print(stderr, "interlock: {}: {}\n", run.binary, describe_end(end));
    failed = true;
  }
  if (outcome.results.empty() && !failed) {
    fmt::print(stderr, "interlock: {} ran no exploration{}; `interlock check {}` lists them\n",
               run.binary, options.only.empty() ? "" : fmt::format(" named '{}'", options.only),
               run.binary);
    return exit_status::usage;
  }
  if ((!run.html.empty() || !run.trace.empty()) && !outcome.written)
    fmt::print(stderr, "interlock: {}: there is nothing to write\n",
               failed ? "what failed has no steps" : "no execution has failed");
  return failed ? exit_status::failure : exit_status::success;
}

}  // namespace interlock::cli
