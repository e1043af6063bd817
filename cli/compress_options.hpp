// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What `interlock compress` was asked for, and the command line that says it.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "failure.hpp"
#include "fault.hpp"
#include "pipeline.hpp"

namespace CLI {
class App;
}

namespace interlock::cli {

struct compress_options {
  std::string input;   ///< empty: the default
  std::string output;  ///< empty: after the input
  bool force = false;
  bool quiet = false;
  int level = zstd_level_default;
  unsigned devices = 0;          ///< 0: one per CPU
  std::uint64_t chunk_size = 0;  ///< 0: by level and size of the input
  unsigned queue_depth = 0;      ///< 0: by the number of devices
  bool frames = false;
  std::string link = "memory";
  std::string provider = "auto";
  bool arm_all = false;
  std::string trace;
  bool compare = false;
  unsigned runs = 7;
  bool verify = false;
  std::string inject;
  double watchdog = 0;  ///< seconds; 0: by level and chunk size

  // Made from the above by `complete`.
  std::vector<link_style> links;
  std::optional<fault> parsed_fault;
};

/// Adds the options to `verb`. Lifetime: `options` outlives the parsing.
void add_compress_options(CLI::App& verb, compress_options& options);

/// Fills in defaults and checks what the parser cannot.
[[nodiscard]] maybe_failure complete(compress_options& options);

/// How long a fence may take: a chunk at the slowest levels takes a while.
[[nodiscard]] ktime watchdog_of(const compress_options& options, std::size_t chunk) noexcept;

}  // namespace interlock::cli
