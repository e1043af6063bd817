// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "termination.hpp"

namespace CLI {
class App;
}

namespace interlock::cli {

struct replay_options {
  std::string binary;
  std::string token;
  std::string only;
  std::string filter;
  std::string html;
  std::string trace;
  bool gdb = false;
  std::vector<std::string> arguments;
};
/// Lifetime: `options` outlives the parsing.
void add_replay_options(CLI::App& verb, replay_options& options);

/// The verb `replay`: the exit status.
[[nodiscard]] int replay(const replay_options& options, termination& signals);

}  // namespace interlock::cli
