// SPDX-License-Identifier: Apache-2.0
#pragma once

/// The memory of executions: a heap that is the same each time, and an undo log for all that existed before.

#include <cstddef>
#include <cstdint>

#include "storage.hpp"

namespace interlock::machine {

/// A bump allocator: nothing is used twice in an execution, so that a use after free, and a race with a free, are seen.
/// The shadow has one byte per granule: how many of its bytes may be accessed, or what it is.
class heap {
 public:
  heap() noexcept;

  static constexpr std::uint8_t outside = 0;  ///< never allocated: between blocks
  static constexpr std::uint8_t freed = 0xfd;

  struct block {
    std::uintptr_t address;
    std::size_t size;
    std::uint32_t made_by;   ///< access ordinals
    std::uint32_t freed_by;  ///< 0: live
    std::uintptr_t made_at;  ///< pc
    std::uintptr_t freed_at;
    bool reached;  ///< at the end of the execution
  };

  [[nodiscard]] bool contains(std::uintptr_t address) const noexcept {
    return address - begin_ < capacity;
  }
  [[nodiscard]] std::uintptr_t begin() const noexcept { return begin_; }
  /// Null if the arena is full.
  void* allocate(std::size_t size, std::size_t alignment) noexcept;
  /// The live or freed block that starts at, or holds, the address; null if there is none.
  block* find(std::uintptr_t address) noexcept;
  void release(block& b) noexcept;
  /// True if all bytes may be accessed.
  [[nodiscard]] bool accessible(std::uintptr_t address, std::size_t size) const noexcept {
    const std::uint8_t state = shadow_[(address - begin_) >> 3];
    const std::size_t offset = address & 7;
    if (offset + size <= 8) [[likely]]
      return state != freed && offset + size <= state;
    return accessible_slow(address, size);
  }
  /// How many blocks are not freed.
  [[nodiscard]] std::size_t live() const noexcept { return live_; }
  pool<block>& blocks() noexcept { return blocks_; }
  void reset() noexcept;

  static constexpr std::size_t capacity = std::size_t{256} << 20;

 private:
  [[nodiscard]] bool accessible_slow(std::uintptr_t address, std::size_t size) const noexcept;

  std::uintptr_t begin_ = 0;
  std::size_t used_ = 0;
  std::size_t live_ = 0;
  std::uint8_t* shadow_ = nullptr;
  pool<block> blocks_;
};

/// Old values of granules that an execution has overwritten.
class undo_log {
 public:
  undo_log() noexcept : entries_{std::size_t{1} << 24} {}
  void save(std::uint64_t granule) noexcept {
    auto* const word = reinterpret_cast<std::uint64_t*>(granule << 3);
    entries_.push({word, *word});
  }
  [[nodiscard]] bool full() const noexcept { return entries_.full(); }
  [[nodiscard]] bool empty() const noexcept { return entries_.empty(); }
  template <class F>
  void each_place(F f) noexcept {
    for (const entry& e : entries_) f(e.word);
  }
  /// The memory is gone.
  void forget(std::uintptr_t begin, std::size_t size) noexcept {
    static std::uint64_t nowhere;
    for (entry& e : entries_) {
      if (reinterpret_cast<std::uintptr_t>(e.word) - begin < size) e.word = &nowhere;
    }
  }
  void roll_back() noexcept {
    while (!entries_.empty()) {
      *entries_.back().word = entries_.back().value;
      entries_.resize_down(entries_.size() - 1);
    }
  }

 private:
  struct entry {
    std::uint64_t* word;
    std::uint64_t value;
  };
  pool<entry> entries_;
};

/// The return address lies in the program, not in a library or the machine.
bool in_program(std::uintptr_t pc) noexcept;
/// It lies in libc, which keeps what it allocates (buffers of files) beyond the execution.
bool in_libc(std::uintptr_t pc) noexcept;

/// The program's own data. What instrumented code writes is undone by the log; what else it knows of, as a whole; the
/// rest must not change.
class program_image {
 public:
  /// Static objects of code that is not instrumented.
  void add(void* memory, std::size_t size) noexcept;
  /// Before the first execution.
  void remember() noexcept;
  void put_back() noexcept;
  template <class F>
  void each_own(F f) const noexcept {
    for (unsigned i = 0; i < own_count_; ++i) f(own_[i].memory, own_[i].size);
  }
  /// The first address that differs from what is remembered; null if none does.
  [[nodiscard]] const void* first_difference() const noexcept;

 private:
  struct region {
    std::byte* memory;
    std::size_t size;
    std::byte* copy;
  };
  static constexpr unsigned most_regions = 16;
  region own_[most_regions] = {};
  unsigned own_count_ = 0;
  region data_{};
};

}  // namespace interlock::machine
