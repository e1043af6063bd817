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

/// Whatever copies, joins or clears clocks looks at the first `width` entries only. It grows when an execution has more processes than
/// any before it. Clocks that last stand in memory that was zero at first: what lies behind `width` was never written.
struct clock {
  std::uint32_t at[max_processes];

  static inline unsigned width = 8;  ///< a multiple of 4

  clock() = default;
  clock(const clock& other) noexcept { copy(other); }
  clock& operator=(const clock& other) noexcept {
    copy(other);
    return *this;
  }
  void clear() noexcept {
    for (unsigned i = 0; i < width; i += entries) put(i, group{});
  }
  void join(const clock& other) noexcept {
    for (unsigned i = 0; i < width; i += entries) {
      const group a = get(i);
      const group b = other.get(i);
      put(i, b > a ? b : a);
    }
  }

 private:
  static constexpr unsigned entries = 4;
  // Signed, since baseline x86-64 compares no others; no entry is as large as that.
  using group = std::int32_t __attribute__((vector_size(sizeof(std::int32_t) * entries)));
  [[nodiscard]] group get(unsigned i) const noexcept {
    group g;
    std::memcpy(&g, at + i, sizeof g);
    return g;
  }
  void put(unsigned i, const group& g) noexcept { std::memcpy(at + i, &g, sizeof g); }
  void copy(const clock& other) noexcept {
    for (unsigned i = 0; i < width; i += entries) put(i, other.get(i));
  }
};

}  // namespace interlock::machine
