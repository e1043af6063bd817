// SPDX-License-Identifier: Apache-2.0

/// The hooks of the layers. They are added while the program is loaded, before the first execution.
///
/// Invariant: I1. The list is sorted, highest order first; nothing is ever removed.

#include "interlock_platform/lifecycle.hpp"

#include "interlock_platform/local.hpp"
#include "interlock_platform/machine.h"
#include "model.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::platform {
namespace {

using step = void (*lifecycle_hook::*)() noexcept;

constinit lifecycle_hook* first_hook = nullptr;

void run_downwards(step member) noexcept {
  for (lifecycle_hook* hook = first_hook; hook != nullptr; hook = hook->next) {
    if (hook->*member != nullptr) (hook->*member)();
  }
}

/// As natively: nothing interrupts the hooks, behind them a handler finds a dead task, and who has never called the core has none.
void task_ends() noexcept {
  interlock_machine_hold(true);
  const auto& words = *static_cast<const task_words*>(interlock_machine_task_words());
  if (words.id.load_relaxed() != 0) run_downwards(&lifecycle_hook::task_exit);
  this_task().life.store_relaxed(static_cast<std::uint32_t>(task_life::dead));
  interlock_machine_hold(false);
}

/// 101 is the first priority that the compiler leaves to libraries.
[[gnu::constructor(101)]] void load() noexcept {
  interlock_machine_at_task_exit([] { task_ends(); });
}

}  // namespace

void add_lifecycle_hook(lifecycle_hook& hook) noexcept {
  lifecycle_hook** link = &first_hook;
  while (*link != nullptr && (*link)->order >= hook.order) {
    if (*link == &hook) return;
    link = &(*link)->next;
  }
  hook.next = *link;
  *link = &hook;
}

void run_shutdown_hooks() noexcept { run_downwards(&lifecycle_hook::shutdown); }

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform
