// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Which providers this tool was built with, and which of them serves files.

#include <span>
#include <string>

#include "failure.hpp"
#include "interlock/device/provider.hpp"

namespace interlock::cli {

/// All that are built in.
[[nodiscard]] std::span<const provider* const> built_in_providers() noexcept;

/// The probe of a provider; option `uring=0` of INTERLOCK_OPTIONS makes uring unavailable.
[[nodiscard]] provider_probe probe_provider(const provider& which) noexcept;

struct file_provider {
  const provider* chosen = nullptr;
  std::string note;  ///< why it is not the one that was preferred; empty otherwise
};

/// `name` is "auto", "uring" or "pread". Auto takes io_uring, else the thread that does the same.
[[nodiscard]] maybe_failure choose_file_provider(const std::string& name, file_provider& choice);

}  // namespace interlock::cli
