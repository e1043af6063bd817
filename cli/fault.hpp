// SPDX-License-Identifier: Apache-2.0
#pragma once

/// The fault that `--inject` asks for: which device misbehaves at which chunk, and how.

#include <cstdint>
#include <optional>
#include <string>

#include "failure.hpp"
#include "interlock/device/device_queue.hpp"

namespace interlock::cli {

enum class stage : std::uint32_t { read, compress, write };

struct fault {
  device_fault::action what = device_fault::action::error;
  stage where = stage::compress;
  std::optional<unsigned> device;  ///< of stage compress; absent: the one whose turn it is
  std::uint64_t chunk = 0;
  ktime stall{};
};

/// Reads "error", "hang:chunk=3", "stall:device=1,chunk=40,time=500ms" or "error:device=write".
[[nodiscard]] maybe_failure parse_fault(const std::string& text, fault& parsed);

}  // namespace interlock::cli
