// SPDX-License-Identifier: Apache-2.0
#pragma once

/// The library's own threads (`ilk-irq`, `ilk-rcu`), as the kernel counts them.

#include <cstdint>

namespace interlock::cli {

/// How often they have slept until now. From /proc; 0 where that is not there.
[[nodiscard]] std::uint64_t service_thread_sleeps();

}  // namespace interlock::cli
