// SPDX-License-Identifier: Apache-2.0

/// The engine provider: a software device, there on every machine.
///
/// Contexts: task.

#include "interlock/device/provider.hpp"

#include <cstdio>

#include "queue.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {
namespace {

provider_probe probe() noexcept {
  provider_probe found;
  found.available = true;
  std::snprintf(found.detail, sizeof found.detail, "a thread per queue, waits in memory");
  return found;
}

}  // namespace

const provider& engine_provider() noexcept {
  static constexpr provider engine{"engine", "software device: runs functions as jobs",
                                   device_feature::memory_wait | device_feature::compute |
                                       device_feature::timer | device_feature::fault_injection,
                                   &probe, &engine::queue::open};
  return engine;
}

}  // namespace interlock::inline INTERLOCK_PLATFORM
