// SPDX-License-Identifier: Apache-2.0
#include "info.hpp"

#include <CLI/CLI.hpp>

namespace interlock::cli {
void add_info_options(CLI::App& verb, info_options& options) {
  verb.add_flag("--json", options.json, "For programs");
}
int info(const info_options&) { return 0; }
}  // namespace interlock::cli
