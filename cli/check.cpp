// SPDX-License-Identifier: Apache-2.0
#include "check.hpp"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstring>

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

void print_failures(const std::string& binary, const std::vector<exploration_result>& results) {
  for (const exploration_result& r : results) {
    if (r.passed) continue;
    fmt::print("\n{}\n  {}\n", r.name, r.failure);
    if (!r.token.empty())
      fmt::print("  interlock replay {} {} --only '{}'\n", binary, r.token, r.name);
  }
}

}  // namespace

void add_check_options(CLI::App& verb, check_options& options) {
  verb.add_option("BINARY", options.binary, "A test binary, linked to interlock::model")
      ->required()
      ->check(CLI::ExistingFile);
  verb.add_option("ARGUMENT", options.arguments, "What the binary is given, behind --");
  verb.add_option("--filter", options.filter, "Of its GoogleTest tests: those that match")
      ->type_name("PATTERN");
  verb.add_option("--time", options.time,
                  "Of each exploration, at most: 10s, 500ms, 2m; 0: no limit")
      ->type_name("TIME");
  verb.add_option("--executions", options.executions, "Of each exploration, at most; 0: no limit")
      ->type_name("N");
  verb.add_option("--strategy", options.strategy, "How executions are chosen")
      ->check(CLI::IsMember({"portfolio", "exhaustive", "enumerate", "random", "pct", "pos"}));
  verb.add_option("--preemption", options.preemption, "When a CPU goes over to another task")
      ->check(CLI::IsMember({"none", "voluntary", "full"}));
  verb.add_option("--granularity", options.granularity, "Are the insides of the library explored")
      ->check(CLI::IsMember({"user", "full"}));
  verb.add_option("--memory", options.memory, "What a load may see")
      ->check(CLI::IsMember({"sc", "tso"}));
  verb.add_option("--points", options.points, "Where another flow may come in")
      ->check(CLI::IsMember({"synchronisation", "every_access"}));
  verb.add_option("--cpus", options.cpus, "CPUs of the machine")
      ->check(CLI::Range(1, 8))
      ->type_name("N");
  verb.add_option("--seed", options.seed, "Of the samplers")->type_name("N");
  verb.add_option("--steps", options.steps, "Of one execution, at most")->type_name("N");
  verb.add_option("--pct-depth", options.pct_depth, "Bugs of this depth are looked for by pct")
      ->check(CLI::Range(1, 16))
      ->type_name("N");
  verb.add_option("--junit", options.junit, "Write the results as JUnit XML")->type_name("FILE");
  verb.add_flag("--verbose", options.verbose, "Show what the binary writes: reports of failures");
  verb.footer(
      "Exit status: 0 if all passed, 1 if not, 2 if it could not be run as asked.\n"
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
  if (!options.filter.empty()) run.arguments.push_back("--gtest_filter=" + options.filter);
  run.explore = explore_words(options);
  run.output = options.verbose;
  exploration_outcome outcome;
  if (const maybe_failure wrong = run_explorations(run, signals, outcome)) {
    fmt::print(stderr, "interlock: {}\n", wrong->message);
    return wrong->status;
  }
  const std::vector<exploration_result>& results = outcome.results;
  for (const exploration_result& r : results) {
    // Not a failure of the test: it was not run.
    if (r.failure.rfind("INTERLOCK_EXPLORE: ", 0) == 0) {
      fmt::print(stderr, "interlock: {}\n", r.failure);
      return exit_status::usage;
    }
  }
  if (!results.empty()) print_table(results);
  print_failures(run.binary, results);
  if (!options.junit.empty()) {
    if (const maybe_failure wrong = write_junit(options.junit, run.binary, outcome)) {
      fmt::print(stderr, "interlock: {}\n", wrong->message);
      return wrong->status;
    }
  }
  const auto failed =
      std::count_if(results.begin(), results.end(), [](const auto& r) { return !r.passed; });
  std::string summary = fmt::format("{} explorations, {} failed", results.size(), failed);
  int status = failed != 0 ? exit_status::failure : exit_status::success;
  if (outcome.signal != 0) {
    summary += fmt::format("; {} was ended by signal {} ({})", run.binary, outcome.signal,
                           ::strsignal(outcome.signal));
    status = exit_status::failure;
  } else if (outcome.exit_status != 0 && failed == 0) {
    summary += fmt::format("; {} failed, exit status {}: --verbose shows why", run.binary,
                           outcome.exit_status);
    status = exit_status::failure;
  } else if (results.empty()) {
    fmt::print(stderr, "interlock: {} ran no exploration\n", run.binary);
    return exit_status::failure;
  }
  fmt::print("\n{}\n", summary);
  return status;
}

}  // namespace interlock::cli
