// SPDX-License-Identifier: Apache-2.0
#include "info.hpp"

#include <fmt/core.h>
#include <sys/utsname.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "interlock/version.hpp"
#include "machine_facts.hpp"
#include "zstd_stream.hpp"

namespace interlock::cli {

namespace {

using state = machine_fact::state;

constexpr std::size_t line_width = 100;

const char* word_of(state s) noexcept {
  return s == state::note ? "" : s == state::present ? "yes" : "no";
}

/// Breaks `text` at spaces, with `indent` before each line but the first.
std::string wrap(const std::string& text, std::size_t indent) {
  std::string wrapped;
  std::size_t column = indent;
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t space = std::min(text.find(' ', at), text.size());
    const std::size_t length = space - at;
    if (column != indent && column + 1 + length > line_width) {
      wrapped += '\n' + std::string(indent, ' ');
      column = indent;
    }
    if (column != indent) {
      wrapped += ' ';
      ++column;
    }
    wrapped.append(text, at, length);
    column += length;
    at = space + 1;
  }
  return wrapped;
}

void print_text(const std::vector<machine_fact>& facts) {
  std::size_t name_width = 0;
  for (const machine_fact& fact : facts) name_width = std::max(name_width, fact.name.size());
  const std::size_t indent = 2 + name_width + 2 + 5;
  std::string group;
  for (const machine_fact& fact : facts) {
    if (fact.group != group) fmt::print("\n{}\n", fact.group);
    group = fact.group;
    fmt::print("  {:<{}}  {:<5}{}\n", fact.name, name_width, word_of(fact.is),
               wrap(fact.detail, indent));
    if (fact.instead.empty()) continue;
    fmt::print("{:{}}instead: {}\n", "", indent, wrap(fact.instead, indent + 9));
  }
}

std::string quote(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    if (static_cast<unsigned char>(c) >= 0x20) quoted += c;
  }
  return quoted + '"';
}

void print_json(const std::vector<machine_fact>& facts, const std::string& system) {
  fmt::print("{{\n  \"interlock\": {},\n  \"system\": {},\n  \"facts\": [\n",
             quote(interlock_version_string()), quote(system));
  for (std::size_t i = 0; i < facts.size(); ++i) {
    const machine_fact& fact = facts[i];
    const char* const present = fact.is == state::note      ? "null"
                                : fact.is == state::present ? "true"
                                                            : "false";
    fmt::print(
        "    {{\"group\": {}, \"name\": {}, \"present\": {}, \"detail\": {}, \"instead\": {}}}{}\n",
        quote(fact.group), quote(fact.name), present, quote(fact.detail), quote(fact.instead),
        i + 1 < facts.size() ? "," : "");
  }
  fmt::print("  ]\n}}\n");
}

}  // namespace

void add_info_options(CLI::App& verb, info_options& options) {
  verb.add_flag("--json", options.json, "For programs");
  verb.footer(
      "Examples:\n"
      "  interlock info\n"
      "  INTERLOCK_OPTIONS=uring=0:membarrier=0 interlock info    as a sandbox would have it\n");
}

int info(const info_options& options) {
  std::vector<machine_fact> facts;
  add_processor_facts(facts);
  add_kernel_facts(facts);
  add_provider_facts(facts);
  facts.push_back({"compression",
                   "zstd",
                   state::note,
                   fmt::format("{}, {}", zstd_library_version(),
                               zstd_has_sections() ? "chunks refer back to those before them"
                                                   : "each chunk is a frame of its own"),
                   {}});
  ::utsname system{};
  (void)::uname(&system);
  const std::string kernel =
      fmt::format("{} {} {}", system.sysname, system.release, system.machine);
  if (options.json) {
    print_json(facts, kernel);
  } else {
    fmt::print("interlock {} on {}\n", interlock_version_string(), kernel);
    print_text(facts);
  }
  return 0;
}

}  // namespace interlock::cli
