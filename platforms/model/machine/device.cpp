// SPDX-License-Identifier: Apache-2.0

/// Simulated devices: flows of hardware. Each stands on a CPU of its own, on which nothing else ever runs: no task takes its
/// turn there, and no interrupt is delivered. So no mask and no preemption of the CPUs of the program holds it up.

#include <cstdio>

#include "machine.hpp"

namespace interlock::machine {

standing::standing(const process& p) noexcept {
  if (p.device == device_state::none) {
    std::snprintf(text, sizeof text, "on cpu %u", p.cpu & 31u);
  } else {
    std::snprintf(text, sizeof text, "(device)");
  }
}

std::uint64_t machine::spawn_device(void (*entry)(void*), void* argument,
                                    const char* name) noexcept {
  constexpr bool on_a_cpu_of_its_own = true;
  const std::uint64_t made = spawn(entry, argument, name, on_a_cpu_of_its_own);
  processes[made - 1].device = device_state::runs;
  return made;
}

void machine::device_wait(const std::uint32_t* word, std::uint32_t expected,
                          std::uintptr_t pc) noexcept {
  process& p = me();
  if (p.device != device_state::runs) {
    fail(failure_kind::assertion, "BUG: %s waits for a register, and is not a device", p.name);
  }
  // That the register was written wakes the device. What else it may see then, the order of the write says.
  clock seen{};  // zero behind `width`, which may grow meanwhile
  seen = p.seen;
  p.device = device_state::at_register;
  (void)park(word, expected, for_ever, false, pc);
  p.device = device_state::runs;
  const std::uint32_t own = p.seen.at[self];
  p.seen = seen;
  p.seen.at[self] = own;
}

void machine::deny_device(const char* what) noexcept {
  if (!running || me().device != device_state::runs) return;
  fail(failure_kind::rule,
       "BUG: a device %s: %s is hardware, which has memory, registers and interrupt lines only",
       what, me().name);
}

}  // namespace interlock::machine
