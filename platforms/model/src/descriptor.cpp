// SPDX-License-Identifier: Apache-2.0

/// The table of simulated descriptors. Static, so that each execution finds it as the host left it.

#include <cstdint>

#include "interlock_platform/machine.h"
#include "interlock_platform/poller.hpp"
#include "model.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::platform {
namespace {

constinit descriptor table[most_descriptors] = {};

[[gnu::constructor]] void load() noexcept { interlock_machine_put_back(table, sizeof table); }

}  // namespace

descriptor* find_descriptor(int fd, descriptor::kind kind) noexcept {
  if (!is_simulated(fd)) return nullptr;
  descriptor& found = table[fd - first_descriptor];
  return found.is == kind ? &found : nullptr;
}

result<int> open_descriptor(descriptor::kind kind) noexcept {
  for (int i = 0; i < most_descriptors; ++i) {
    if (table[i].is != descriptor::kind::free) continue;
    table[i] = {kind, 0, nullptr};
    return first_descriptor + i;
  }
  return error::too_many_files_open;
}

void close_fd(int fd) noexcept {
  if (!is_simulated(fd)) return;
  descriptor& closed = table[fd - first_descriptor];
  memory_block* const memory = closed.memory;
  closed = {};
  if (memory != nullptr && --memory->references == 0) drop_memory(*memory);
}

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform
