// SPDX-License-Identifier: Apache-2.0

/// The pread provider: file operations where io_uring is missing or forbidden.
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
  std::snprintf(found.detail, sizeof found.detail, "pread and pwrite on a thread per queue");
  return found;
}

}  // namespace

const provider& pread_provider() noexcept {
  static constexpr provider pread{"pread", "file operations by a thread",
                                  device_feature::memory_wait | device_feature::file_io |
                                      device_feature::timer | device_feature::fault_injection,
                                  &probe, &pread_files::queue::open};
  return pread;
}

}  // namespace interlock::inline INTERLOCK_PLATFORM
