// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace CLI {
class App;
}

namespace interlock::cli {

struct info_options {
  bool json = false;
};
/// Lifetime: `options` outlives the parsing.
void add_info_options(CLI::App& verb, info_options& options);

/// The verb `info`: the exit status.
[[nodiscard]] int info(const info_options& options);

}  // namespace interlock::cli
