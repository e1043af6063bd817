// SPDX-License-Identifier: Apache-2.0

/// The two hooks by which the context layer reaches upward: reports, and replay of what is pending.

#include "interlock/detail/context_hooks.hpp"
#include "interlock/irqflags.hpp"
#include "interlock/preempt.hpp"
#include "interlock_platform/stack_trace.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::detail {
namespace {

constinit atomic<fault_hook> on_fault{nullptr};
constinit atomic<replay_hook> on_replay{nullptr};

}  // namespace

void set_fault_hook(fault_hook hook) noexcept {
  on_fault.store_release(hook);  // [H1] pairs with [H2]
}

void context_fault_found(context_fault fault) noexcept {
  const fault_hook hook = on_fault.load_acquire();  // [H2] pairs with [H1]
  if (hook != nullptr) {
    hook(fault);
    return;
  }
  // Only while the library is being loaded or unloaded: nobody can describe it.
  static constexpr char text[] = "BUG: interlock: context misuse outside the library's life\n";
  platform::console_write(text, sizeof text - 1);
  platform::die();
}

void set_replay_hook(replay_hook hook) noexcept {
  on_replay.store_release(hook);  // [H3] pairs with [H4]
}

void replay_pending() noexcept {
  const replay_hook hook = on_replay.load_acquire();  // [H4] pairs with [H3]
  if (hook != nullptr) hook();
}

}  // namespace interlock::inline INTERLOCK_PLATFORM::detail
