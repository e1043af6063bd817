// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What is known of each granule (8 bytes) of memory, or object, that an execution has touched.
///
/// A hash table whose entries stay for a whole exploration: what belongs to one execution carries its stamp, so that nothing
/// has to be cleared between two; what is learned for good (`owner`, `shared`) stays.

#include <cstdint>

#include "clock.hpp"
#include "op.hpp"
#include "storage.hpp"

namespace interlock::machine {

using index = std::uint32_t;
inline constexpr index no_index = 0;

inline constexpr unsigned granule_bits = 3;
inline constexpr unsigned granule_size = 1u << granule_bits;
constexpr std::uint64_t granule_of(std::uint64_t address) noexcept {
  return address >> granule_bits;
}

/// A point that touched the granule, for the reduction: the last write, and the reads since.
struct touch {
  std::uint32_t event;
  process_id by;
  std::uint8_t bytes;  ///< mask
  bool writes;
  bool enables;  ///< who waited for it could not have gone before it
  index next;
};

/// An access, for the race detector: those that are not yet known to precede every later one.
struct access_record {
  std::uint32_t epoch;    ///< of `by`, when it happened
  std::uint32_t ordinal;  ///< the access's number in the execution
  std::uint32_t step;     ///< in which it was made
  index next;
  std::uintptr_t pc;
  process_id by;
  std::uint8_t bytes;
  bool writes;
  bool atomic;
  bool frees;
};

/// What a release left in an atomic object.
struct release_record {
  std::uint8_t offset;
  process_id fenced_by;  ///< whose signal fence came before the store; `no_process`: none did
  index next;
  clock published;
  clock fenced;  ///< what that fence released: for the interrupts of its CPU, or what they halt
};

struct location {
  std::uint64_t key;  ///< granule + 1; 0: free
  std::uint32_t stamp;
  index touches;
  index accesses;
  index releases;
  bool saved;         ///< its old value is in the undo log
  bool is_lock;       ///< one of the program begins in it
  process_id holder;  ///< of a lock that the machine knows
  // For good:
  process_id owner;
  bool shared;
};

class location_table {
 public:
  location_table() noexcept : slots_{std::size_t{1} << slot_bits}, used_{max_used} {}

  /// The entry, made fresh for this execution. Never null; `exhausted()` tells that the table is full.
  location& at(std::uint64_t granule, std::uint32_t stamp) noexcept {
    const std::uint64_t key = granule + 1;
    std::size_t i = first_slot(granule);
    while (true) {
      location& slot = slots_[i];
      if (slot.key == key) [[likely]] {
        if (slot.stamp != stamp) refresh(slot, stamp);
        return slot;
      }
      if (slot.key == 0) return claim(slot, i, key, stamp);
      i = (i + 1) & ((std::size_t{1} << slot_bits) - 1);
    }
  }
  /// Null if this execution has not touched it.
  location* find(std::uint64_t granule, std::uint32_t stamp) noexcept {
    const std::uint64_t key = granule + 1;
    std::size_t i = first_slot(granule);
    while (slots_[i].key != key) {
      if (slots_[i].key == 0) return nullptr;
      i = (i + 1) & ((std::size_t{1} << slot_bits) - 1);
    }
    return slots_[i].stamp == stamp ? &slots_[i] : nullptr;
  }
  [[nodiscard]] bool exhausted() const noexcept { return exhausted_; }

  void forget_all() noexcept {
    for (const std::uint32_t i : used_) slots_[i] = location{};
    used_.clear();
    exhausted_ = false;
  }

 private:
  static constexpr unsigned slot_bits = 21;
  /// Neighbours stand side by side: what an execution touches lies on few pages.
  static constexpr unsigned run_bits = 6;
  static constexpr std::size_t first_slot(std::uint64_t granule) noexcept {
    const std::uint64_t run = (granule >> run_bits) + 1;
    const std::uint64_t hash = (run * 0x9e37'79b9'7f4a'7c15u) >> (64 - slot_bits + run_bits);
    return static_cast<std::size_t>(hash << run_bits | (granule & ((1u << run_bits) - 1)));
  }
  static constexpr std::size_t max_used = std::size_t{1} << (slot_bits - 1);

  static void refresh(location& slot, std::uint32_t stamp) noexcept {
    slot.stamp = stamp;
    slot.touches = slot.accesses = slot.releases = no_index;
    slot.saved = slot.is_lock = false;
    slot.holder = no_process;
  }
  location& claim(location& slot, std::size_t i, std::uint64_t key, std::uint32_t stamp) noexcept {
    if (used_.full()) {
      exhausted_ = true;
      refresh(overflow_, stamp);
      return overflow_;
    }
    used_.push(static_cast<std::uint32_t>(i));
    slot.key = key;
    slot.owner = no_process;
    slot.shared = false;
    refresh(slot, stamp);
    return slot;
  }

  pool<location> slots_;
  pool<std::uint32_t> used_;
  location overflow_{};
  bool exhausted_ = false;
};

/// Calls `f(granule, mask)` for each granule of [address, address + size).
template <class F>
inline void each_granule(std::uint64_t address, std::uint64_t size, F f) noexcept {
  while (size != 0) {
    const unsigned offset = address & 7;
    const std::uint64_t here = size < 8 - offset ? size : 8 - offset;
    f(granule_of(address), static_cast<std::uint8_t>(((1u << here) - 1) << offset));
    address += here;
    size -= here;
  }
}

}  // namespace interlock::machine
