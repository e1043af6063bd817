// SPDX-License-Identifier: Apache-2.0

/// The irq layer's hooks: replay, thread exit, fork, shutdown.
///
/// In the child of a fork there is one CPU. Timers stay armed, lines keep their raises, and both
/// are served once a service CPU runs again, which starts on need. Threaded halves are started
/// again by it. An irq_work that another CPU was about to run may be lost, a call is (its caller is
/// gone too). Locks are taken in the order of the layers: lines, CPUs, timers after the service
/// CPU's mutex.

#include "irq/lifecycle.hpp"

#include "interlock/detail/context_hooks.hpp"
#include "interlock_platform/lifecycle.hpp"
#include "irq/descriptor.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::detail {
namespace {

void fork_prepare() noexcept {
  service_fork_prepare();
  lines_fork_prepare();
  cpus_fork_prepare();
  timers_fork_prepare();
}

void fork_parent() noexcept {
  timers_fork_parent();
  cpus_fork_parent();
  lines_fork_parent();
  service_fork_parent();
}

void fork_child() noexcept {
  timers_fork_child();
  service_fork_child();
  lines_fork_child_reset();
  cpus_fork_child();
  lines_fork_child_resume();
}

constinit platform::lifecycle_hook hook{platform::hook_order::irq,
                                        cpu_exit,
                                        fork_prepare,
                                        fork_parent,
                                        fork_child,
                                        stop_service,
                                        nullptr};

[[gnu::constructor]] void install_hooks() noexcept {
  platform::add_lifecycle_hook(hook);
  set_replay_hook(replay);
}

}  // namespace
}  // namespace interlock::inline INTERLOCK_PLATFORM::detail
