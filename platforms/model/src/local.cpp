// SPDX-License-Identifier: Apache-2.0

/// The words of CPUs and tasks lie in the machine, which zeroes them before each execution.

#include "interlock_platform/local.hpp"

#include <cstddef>
#include <cstdint>

#include "interlock_platform/machine.h"

namespace interlock::inline INTERLOCK_PLATFORM::platform {
namespace {

/// One bit for each 4 bytes of a member.
constexpr std::uint16_t bits(std::size_t offset, std::size_t size) {
  return static_cast<std::uint16_t>(((1u << (size / 4)) - 1) << (offset / 4));
}

/// What is marked [remote] in local_words.hpp, and what interrupts and those that they halt tell each other.
[[gnu::constructor]] void load() noexcept {
  constexpr std::uint16_t of_cpu =
      bits(offsetof(cpu_words, pending), sizeof(cpu_words::pending)) |
      bits(offsetof(cpu_words, need_resched), sizeof(cpu_words::need_resched)) |
      bits(offsetof(cpu_words, queue), sizeof(cpu_words::queue)) |
      bits(offsetof(cpu_words, softirq_pending), sizeof(cpu_words::softirq_pending));
  constexpr std::uint16_t of_task =
      bits(offsetof(task_words, rcu), sizeof(task_words::rcu)) |
      bits(offsetof(task_words, rcu_next), sizeof(task_words::rcu_next));
  interlock_machine_share_words(of_cpu, of_task);
}

}  // namespace

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
