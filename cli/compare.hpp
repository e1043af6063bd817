// SPDX-License-Identifier: Apache-2.0
#pragma once

/// This tool and `zstd`, in turns, each as a process of its own on the same file.

#include "compress_options.hpp"
#include "input_file.hpp"
#include "termination.hpp"

namespace interlock::cli {

[[nodiscard]] maybe_failure compare_with_zstd(const compress_options& options,
                                              const input_file& input, termination& signals);

}  // namespace interlock::cli
