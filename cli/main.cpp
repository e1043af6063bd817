// SPDX-License-Identifier: Apache-2.0

/// The command line tool: one verb per file.

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>
#include <vector>

#include "check.hpp"
#include "compress.hpp"
#include "info.hpp"
#include "interlock/version.hpp"
#include "replay.hpp"
#include "termination.hpp"

namespace {

constexpr const char* description =
    "Interlock: one object for \"this work is done\" that devices, threads and processes wait on.";
constexpr const char* footer = "`interlock VERB --help` says more about a verb.";

/// What is wrong, under the program's name, and the way out.
std::string failure_message(const CLI::App* app, const CLI::Error& problem) {
  const bool no_verb = app->get_subcommands().empty();
  const std::string verb = no_verb ? "" : app->get_subcommands().front()->get_name() + " ";
  std::string what = problem.what();
  constexpr auto unknown_words = static_cast<int>(CLI::ExitCodes::ExtrasError);
  const std::vector<std::string> words = app->remaining();
  if (no_verb && problem.get_exit_code() == unknown_words && !words.empty() &&
      words.front().front() != '-') {
    what = fmt::format("there is no verb '{}'; the verbs are check, compress, info and replay",
                       words.front());
  }
  return fmt::format("interlock: {}\n`interlock {}--help` says what there is.\n", what, verb);
}

}  // namespace

int main(int argc, char** argv) {
  using namespace interlock::cli;
  // Before any other thread, so that all inherit the mask.
  termination signals;

  CLI::App app{description, "interlock"};
  app.footer(footer);
  app.require_subcommand(0, 1);
  app.failure_message(failure_message);
  app.set_version_flag("--version", std::string{"interlock "} + interlock_version_string());
  app.get_formatter()->column_width(34);

  compress_options to_compress;
  CLI::App& compress_verb = *app.add_subcommand(
      "compress", "Compress a file by a pipeline of devices that are tied by fences alone");
  add_compress_options(compress_verb, to_compress);

  info_options about;
  CLI::App& info_verb =
      *app.add_subcommand("info", "What this machine offers, and what is used where it does not");
  add_info_options(info_verb, about);

  check_options to_check;
  CLI::App& check_verb = *app.add_subcommand(
      "check", "Run the explorations of a test binary on the simulated machine");
  add_check_options(check_verb, to_check);

  replay_options to_replay;
  CLI::App& replay_verb =
      *app.add_subcommand("replay", "Run one execution of an exploration again");
  add_replay_options(replay_verb, to_replay);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& problem) {
    // Help and version come this way too.
    return app.exit(problem) == 0 ? exit_status::success : exit_status::usage;
  }
  if (app.get_subcommands().empty()) {
    fmt::print(stderr, "{}\ninterlock: a verb is wanted\n", app.help());
    return exit_status::usage;
  }
  if (info_verb.parsed()) return info(about);
  if (check_verb.parsed()) return check(to_check, signals);
  if (replay_verb.parsed()) return replay(to_replay, signals);
  return compress(to_compress, signals);
}
