// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "compress_options.hpp"
#include "termination.hpp"

namespace interlock::cli {

/// The verb `compress`: the exit status.
[[nodiscard]] int compress(compress_options options, termination& signals);

}  // namespace interlock::cli
