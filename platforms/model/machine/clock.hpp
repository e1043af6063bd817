// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Vector clocks. A process is a task, or one level of interrupts of a CPU.

#include <cstdint>
#include <cstring>

namespace interlock::machine {

using process_id = std::uint8_t;
inline constexpr unsigned max_processes = 64;
inline constexpr process_id no_process = 0xff;

using process_set = std::uint64_t;
constexpr process_set just(process_id p) noexcept { return process_set{1} << p; }

struct clock {
  std::uint32_t at[max_processes];

  void clear() noexcept { std::memset(at, 0, sizeof at); }
  void join(const clock& other, unsigned count) noexcept {
    for (unsigned i = 0; i < count; ++i) {
      if (other.at[i] > at[i]) at[i] = other.at[i];
    }
  }
};

}  // namespace interlock::machine
