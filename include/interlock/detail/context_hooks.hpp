// SPDX-License-Identifier: Apache-2.0
#pragma once

/// The context layer's two upward hooks, set once by the layers that serve them.

#include "interlock/preempt.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::detail {

using fault_hook = void (*)(context_fault) noexcept;
using replay_hook = void (*)() noexcept;

/// Installed by the report layer when the library is loaded.
INTERLOCK_API void set_fault_hook(fault_hook hook) noexcept;

/// Installed by the irq layer on first use.
INTERLOCK_API void set_replay_hook(replay_hook hook) noexcept;

}  // namespace interlock::inline INTERLOCK_PLATFORM::detail
