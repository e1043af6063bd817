// SPDX-License-Identifier: Apache-2.0
#pragma once

/// How long it pays to spin before parking.

#include <cstdint>

#include "interlock_platform/platform.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::detail {

/// The number of `cpu_relax` calls that take about 3 us, 0 where nobody else could make progress
/// meanwhile (one processor). Measured once. Context: any.
[[nodiscard]] std::uint32_t spin_limit() noexcept;

}  // namespace interlock::inline INTERLOCK_PLATFORM::detail
