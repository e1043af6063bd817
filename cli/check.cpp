// SPDX-License-Identifier: Apache-2.0
#include "check.hpp"

#include <fmt/core.h>
#include <sched.h>
#include <signal.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <string_view>

#include "explorations.hpp"
#include "junit.hpp"
#include "units.hpp"

namespace interlock::cli {

namespace {

/// INTERLOCK_EXPLORE, for what was given.
std::string explore_words(const check_options& o) {
  std::string text;
  const auto add = [&text](const char* key, const std::string& value) {
    if (value.empty()) return;
    if (!text.empty()) text += ',';
    text += fmt::format("{}={}", key, value);
  };
  const auto add_number = [&add](const char* key, const std::optional<std::uint64_t>& value) {
    if (value) add(key, std::to_string(*value));
  };
  add("time", o.time);
  add("strategy", o.strategy);
  add("preemption", o.preemption);
  add("granularity", o.granularity);
  add("memory", o.memory);
  add("points", o.points);
  add_number("executions", o.executions);
  add_number("seed", o.seed);
  add_number("steps", o.steps);
  add_number("cpus", o.cpus);
  add_number("pct_depth", o.pct_depth);
  return text;
}

void print_table(const std::vector<exploration_result>& results) {
  std::size_t width = 11;
  for (const exploration_result& r : results) width = std::max(width, r.name.size());
  fmt::print("{:{}}  {:6}  {:>12}  {:8}  {:>8}\n", "exploration", width, "result", "executions",
             "complete", "time");
  for (const exploration_result& r : results) {
    fmt::print("{:{}}  {:6}  {:>12}  {:8}  {:>6.2f} s\n", r.name, width,
               r.passed ? "passed" : "FAILED", format_count(r.executions),
               r.complete ? "yes" : "no", r.seconds);
  }
}

void print_failures(const exploration_run& run, const std::vector<exploration_result>& results) {
  for (const exploration_result& r : results) {
    if (r.passed) continue;
    fmt::print("\n{}\n  {}\n", r.name, r.failure);
    if (!r.token.empty()) fmt::print("  {}\n", replay_command(run, r));
  }
}

unsigned usable_cpus() noexcept {
  ::cpu_set_t cpus;
  if (::sched_getaffinity(0, sizeof cpus, &cpus) != 0) return 1;
  return static_cast<unsigned>(std::max(1, CPU_COUNT(&cpus)));
}

/// Empty, or what is wrong with it. The same as the machine says it of INTERLOCK_EXPLORE, in the tool's words.
std::string check_number(const std::string& text) {
  std::uint64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [at, wrong] = std::from_chars(text.data(), end, value);
  if (wrong == std::errc{} && at == end) return {};
  return fmt::format("'{}' is not a number from 0 to {}", text, UINT64_MAX);
}
std::string check_time(const std::string& text) {
  char* end = nullptr;
  const bool digit = !text.empty() && text[0] >= '0' && text[0] <= '9';
  const double value = digit ? std::strtod(text.c_str(), &end) : 0;
  const std::string_view unit{digit ? end : "?"};
  const bool known = unit.empty() || unit == "s" || unit == "ms" || unit == "m";
  if (known && std::isfinite(value) && value <= 1e7) return {};
  return fmt::format("'{}' is not a time: write 10s, 500ms or 2m, or 0 for no limit", text);
}

/// What is the matter with a binary that ran no exploration.
std::string why_nothing_ran(const check_options& options, const exploration_run& run,
                            const std::vector<bad_end>& ends) {
  std::string text = fmt::format("{} ran no exploration", run.binary);
  if (!options.filter.empty()) {
    return text + fmt::format(
                      ": no test with one matches --filter '{}'; `{} --gtest_list_tests` "
                      "lists them",
                      options.filter, run.binary);
  }
  if (!ends.empty())
    text += fmt::format(" ({}; --verbose shows what it says)", describe_end(ends.front()));
  return text + ": is it a program that is linked to interlock::model and calls model::explore?";
}

}  // namespace

void add_check_options(CLI::App& verb, check_options& options) {
  verb.add_option("BINARY", options.binary, "A test binary that is linked to interlock::model")
      ->required()
      ->check(CLI::ExistingFile);
  verb.add_option("ARGUMENT", options.arguments, "Given to the binary; behind --");
  verb.add_option("--filter", options.filter,
                  "Only the GoogleTest tests that match, as --gtest_filter")
      ->type_name("PATTERN");
  verb.add_option("-j,--jobs", options.jobs,
                  "Processes at once [all CPUs]; those that are idle help, or take a part of a "
                  "search; 1: the binary as a whole, "
                  "once")
      ->check(CLI::Range(1, 1024))
      ->type_name("N");
  verb.add_option("--time", options.time, "For each exploration: 10s, 500ms, 2m; 0: no limit [10s]")
      ->check(CLI::Validator{check_time, ""})
      ->type_name("TIME");
  verb.add_option("--executions", options.executions,
                  "Of each exploration, at most; 0: no limit [100 000]")
      ->check(CLI::Validator{check_number, ""})
      ->type_name("N");
  verb.add_option("--strategy", options.strategy, "How executions are chosen [portfolio]")
      ->check(CLI::IsMember(
          {"portfolio", "exhaustive", "enumerate", "random", "pct", "pos", "urw", "samplers"}));
  verb.add_option("--preemption", options.preemption, "When a CPU goes over to another task [full]")
      ->check(CLI::IsMember({"none", "voluntary", "full"}));
  verb.add_option("--granularity", options.granularity,
                  "user: an operation of the library is one step; library: its insides are "
                  "explored; full: with interrupts there too [user]")
      ->check(CLI::IsMember({"user", "library", "full"}));
  verb.add_option("--memory", options.memory, "The memory model [sc]")
      ->check(CLI::IsMember({"sc", "tso"}));
  verb.add_option("--points", options.points, "Where another flow may come in [synchronisation]")
      ->check(CLI::IsMember({"synchronisation", "every_access"}));
  verb.add_option("--cpus", options.cpus, "CPUs of the simulated machine [2]")
      ->check(CLI::Range(1, 8))
      ->type_name("N");
  verb.add_option("--seed", options.seed, "Of the samplers' random numbers [1]")
      ->check(CLI::Validator{check_number, ""})
      ->type_name("N");
  verb.add_option("--steps", options.steps,
                  "Of one execution; one that takes more fails; 0: as if not given [20 000]")
      ->check(CLI::Validator{check_number, ""})
      ->type_name("N");
  verb.add_option("--pct-depth", options.pct_depth,
                  "pct looks for bugs that need so many orderings [3]")
      ->check(CLI::Range(1, 16))
      ->type_name("N");
  verb.add_option("--junit", options.junit, "Write the results as JUnit XML")->type_name("FILE");
  verb.add_option("--html", options.html, "Write the first failure as a page to step through")
      ->type_name("FILE");
  verb.add_option("--trace", options.trace,
                  "Write the first failure as a trace for https://ui.perfetto.dev")
      ->type_name("FILE");
  verb.add_flag("--verbose", options.verbose,
                "Show what the binary writes, so also the steps of each failure");
  verb.footer(
      "What is given goes before what a test asks for; [in brackets]: where neither says "
      "anything.\n"
      "A failure is listed with the line that replays it, which shows its steps.\n"
      "A tutorial: docs/model.md.\n"
      "Exit status: 0 if all passed, 1 if not, 2 if nothing could be run as asked.\n"
      "Examples:\n"
      "  interlock check build/tests/model_explore\n"
      "  interlock check ./ring_test --filter 'ring.*' --time 60s --strategy pct --junit "
      "out.xml\n");
}

int check(const check_options& options, termination& signals) {
  exploration_run run;
  run.binary = options.binary;
  if (run.binary.find('/') == std::string::npos) run.binary.insert(0, "./");
  run.arguments = options.arguments;
  run.filter = options.filter;
  run.explore = explore_words(options);
  run.html = options.html;
  run.trace = options.trace;
  run.output = options.verbose;
  run.processes = options.jobs != 0 ? options.jobs : usable_cpus();
  exploration_outcome outcome;
  const maybe_failure wrong_run = run_explorations(run, signals, outcome);
  if (wrong_run && outcome.results.empty()) {
    fmt::print(stderr, "interlock: {}\n", wrong_run->message);
    return wrong_run->status;
  }
  const std::vector<exploration_result>& results = outcome.results;
  for (const exploration_result& r : results) {
    // Not a failure of the test: it was not run.
    if (r.failure.rfind("INTERLOCK_EXPLORE: ", 0) == 0) {
      fmt::print(stderr, "interlock: {}\n", r.failure);
      return exit_status::usage;
    }
  }
  const bool crashed = std::any_of(outcome.bad_ends.begin(), outcome.bad_ends.end(),
                                   [](const bad_end& end) { return end.signal != 0; });
  if (results.empty() && !crashed) {
    fmt::print(stderr, "interlock: {}\n", why_nothing_ran(options, run, outcome.bad_ends));
    return exit_status::usage;
  }
  if (!results.empty()) print_table(results);
  print_failures(run, results);
  if (!options.junit.empty()) {
    if (const maybe_failure wrong = write_junit(options.junit, run, outcome)) {
      fmt::print(stderr, "interlock: {}\n", wrong->message);
      return wrong->status;
    }
  }
  for (const bad_end& end : outcome.bad_ends) {
    fmt::print("\n{}\n  {}{}\n", end.test.empty() ? run.binary : end.test, describe_end(end),
               end.signal == 0         ? ": --verbose shows why"
               : end.signal == SIGKILL ? ": was memory short? -j 1 takes the least"
                                       : "");
  }
  const auto failed =
      std::count_if(results.begin(), results.end(), [](const auto& r) { return !r.passed; });
  fmt::print("\n{} explorations, {} failed", results.size(), failed);
  if (const std::size_t ends = outcome.bad_ends.size(); ends != 0)
    fmt::print("; {} {} did not end well", ends, ends == 1 ? "process" : "processes");
  fmt::print("\n");
  if (wrong_run) {
    fmt::print(stderr, "interlock: {}\n", wrong_run->message);
    return wrong_run->status;
  }
  if (failed != 0 && !outcome.written && (!run.html.empty() || !run.trace.empty()))
    fmt::print(stderr, "interlock: what failed has no steps: there is nothing to write\n");
  return failed != 0 || !outcome.bad_ends.empty() ? exit_status::failure : exit_status::success;
}

}  // namespace interlock::cli
