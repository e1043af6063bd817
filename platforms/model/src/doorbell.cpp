// SPDX-License-Identifier: Apache-2.0

/// Interrupts of the machine.

#include "interlock_platform/doorbell.hpp"

#include "interlock_platform/machine.h"

namespace interlock::inline INTERLOCK_PLATFORM::platform {
namespace {

static_assert(static_cast<int>(doorbell::interrupt) == interlock_machine_irq);
static_assert(static_cast<int>(doorbell::nmi) == interlock_machine_nmi);

constinit bool installed[interlock_machine_bells] = {};

[[gnu::constructor]] void load() noexcept {
  interlock_machine_put_back(installed, sizeof installed);
}

}  // namespace

result<void> install_doorbell(doorbell bell, void (*entry)() noexcept) noexcept {
  if (!interlock_machine_install(static_cast<int>(bell), entry)) {
    return error::device_or_resource_busy;
  }
  installed[static_cast<std::uint32_t>(bell)] = true;
  return {};
}

result<void> ring_doorbell(std::uint32_t id, doorbell bell) noexcept {
  if (!installed[static_cast<std::uint32_t>(bell)]) return error::no_such_device;
  if (!interlock_machine_ring(id, static_cast<int>(bell))) return error::no_such_process;
  return {};
}

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform
