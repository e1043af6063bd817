// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Run-time options, read from the environment: `INTERLOCK_OPTIONS=report=log:irq_signal=40`.
/// The keys are listed in docs/options.md. Unknown keys are ignored, so that one setting serves
/// several versions.

#include <cstddef>

#include "interlock/annotate.hpp"

namespace interlock {

/// The integer value of `key`, or `fallback` if it is absent or not a decimal integer.
/// Context: any; reads the environment, which nobody may change at the same time.
[[nodiscard]] INTERLOCK_API long option_integer(const char* key, long fallback) noexcept;

/// Copies the text value of `key` into `buffer` (cut to fit, terminated). False if absent.
/// Context: any.
INTERLOCK_API bool option_text(const char* key, char* buffer, std::size_t size) noexcept;

}  // namespace interlock
