// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What a flow does at a scheduling point, and when two such operations depend on each other.

#include <cstdint>

namespace interlock::machine {

enum class op_kind : std::uint8_t {
  start,  ///< a task's first step
  read,
  write,
  rmw,   ///< also a compare-exchange that fails: whether it does is not known before
  park,  ///< looks at the word, and blocks
  wake,  ///< returns from a park
  unpark,
  ring,
  deliver,  ///< an interrupt begins
  join,
  exit,
  lock,  ///< blocks while somebody holds it
  unlock,
  relax,  ///< a spinning flow waits for a change
  yield,  ///< the task offers its CPU
  mask,  ///< the last place before interrupts, softirqs or preemption are held off, or let in again
  resched,    ///< might_sleep, where preemption is voluntary
  drain,      ///< waits for the store buffer of its CPU
  drain_all,  ///< for those of all CPUs
};

/// One object, and how it is used. Objects that are no memory have addresses of their own kind (see `object`).
struct footprint {
  std::uint64_t address;
  std::uint32_t size;  ///< 0: none
  bool writes;
};

struct op {
  op_kind kind;
  std::uint8_t order;  ///< std::memory_order of an atomic access
  bool plain;
  bool is_volatile;
  std::uintptr_t pc;
  footprint what;
  footprint also;  ///< park: the queue of the word; deliver: the masks of the CPU
};

/// Addresses of what is no memory: the top byte tells the kind.
enum class object : std::uint8_t {
  none = 0,
  wait_queue = 0x81,
  interrupt = 0x82,
  task = 0x83,
  lock = 0x84,
  guard = 0x85,
  mask = 0x86,  ///< what a CPU holds back: an interrupt looks at it, and who masks writes it
};

/// What a CPU itself sees at an address while its store buffer holds a newer value than memory (TSO).
constexpr std::uint64_t view_address(unsigned cpu, std::uint64_t address) noexcept {
  constexpr std::uint64_t first_view = 0x90;
  return ((first_view + cpu) << 56) | (address & 0x00ff'ffff'ffff'ffffu);
}

constexpr std::uint64_t object_address(object kind, std::uint64_t what) noexcept {
  return (static_cast<std::uint64_t>(kind) << 56) | (what & 0x00ff'ffff'ffff'ffffu);
}
constexpr footprint object_write(object kind, std::uint64_t what) noexcept {
  // One granule each: wait queues of neighbouring words do not meet.
  return {object_address(kind, what), 1, true};
}

constexpr bool overlap(const footprint& a, const footprint& b) noexcept {
  return a.size != 0 && b.size != 0 && a.address < b.address + b.size &&
         b.address < a.address + a.size;
}

constexpr bool conflict(const footprint& a, const footprint& b) noexcept {
  return (a.writes || b.writes) && overlap(a, b);
}

constexpr bool dependent(const op& a, const op& b) noexcept {
  return conflict(a.what, b.what) || conflict(a.what, b.also) || conflict(a.also, b.what) ||
         conflict(a.also, b.also);
}

}  // namespace interlock::machine
