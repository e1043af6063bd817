// SPDX-License-Identifier: Apache-2.0

/// The words of CPUs and tasks lie in the machine, which zeroes them before each execution.

#include "interlock_platform/local.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::platform {

cpu_words& this_cpu() noexcept {
  auto& words = *static_cast<cpu_words*>(interlock_machine_cpu_words());
  if (words.id.load_relaxed() == 0) [[unlikely]]
    words.id.store_relaxed(interlock_machine_cpu());
  return words;
}

task_words& this_task() noexcept {
  auto& words = *static_cast<task_words*>(interlock_machine_task_words());
  if (words.id.load_relaxed() == 0) [[unlikely]] {
    words.id.store_relaxed(interlock_machine_task());
    words.life.store_relaxed(static_cast<std::uint32_t>(task_life::enlisted));
  }
  return words;
}

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform
