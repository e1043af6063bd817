// SPDX-License-Identifier: Apache-2.0

/// The irq layer's hooks: thread exit, fork, shutdown.
///
/// In the child of a fork there is one CPU. Timers stay armed, lines keep their raises, and both
/// are served once a service CPU runs again, which starts on need. Threaded halves are started
/// again by it. Interrupts are held back around the fork, so no handler was cut short on a CPU that
/// can be interrupted. A call to another CPU is lost (its caller is gone too).
///
/// Spinlocks are held across the fork, with interrupts off, because handlers take them too. Mutexes
/// cannot be: upper layers hold spinlocks already. The child makes them anew, which is safe since
/// what they protect is consistent after each single store, and their other owners are not there.

#include "irq/lifecycle.hpp"

#include "interlock/irqflags.hpp"
#include "irq/descriptor.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::detail {
namespace {

constinit irq_flags flags{};  ///< of the forking thread; the platform lets one fork at a time

void fork_prepare() noexcept {
  flags = local_irq_save();
  lines_fork_prepare();
  cpus_fork_prepare();
  timers_fork_prepare();
}

void fork_parent() noexcept {
  timers_fork_parent();
  cpus_fork_parent();
  lines_fork_parent();
  local_irq_restore(flags);
}

void fork_child() noexcept {
  timers_fork_child();
  service_fork_child();
  lines_fork_child_reset();
  cpus_fork_child();
  lines_fork_child_resume();
  local_irq_restore(flags);
}

}  // namespace

constinit platform::lifecycle_hook hold_back_hook{.order = platform::hook_order::interrupts,
                                                  .fork_prepare = hold_interrupts_back,
                                                  .fork_parent = let_interrupts_go,
                                                  .fork_child = let_interrupts_go};

constinit platform::lifecycle_hook irq_hook{.order = platform::hook_order::irq,
                                            .cpu_exit = take_cpu_offline,
                                            .fork_prepare = fork_prepare,
                                            .fork_parent = fork_parent,
                                            .fork_child = fork_child,
                                            .shutdown = stop_service};

}  // namespace interlock::inline INTERLOCK_PLATFORM::detail
