// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What the files of the model platform share. Nothing outside this folder includes it.

#include <cstddef>
#include <cstdint>

#include "interlock/result.hpp"
#include "interlock_platform/platform.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::platform {

// instrumented/visible.cpp: accesses that the machine sees, each a point of its own.
[[nodiscard]] std::uint32_t visible_load_acquire(const std::uint32_t& word) noexcept;
std::uint32_t visible_add_release(std::uint32_t& word, std::uint32_t by) noexcept;
std::uint32_t visible_exchange_acquire(std::uint32_t& word, std::uint32_t value) noexcept;

// descriptor.cpp
/// Where simulated descriptors begin: no process has so many real ones.
inline constexpr int first_descriptor = 1 << 24;
inline constexpr int most_descriptors = 256;

/// Memory behind a descriptor, on the heap.
struct memory_block {
  std::size_t size;
  std::uint32_t references;  ///< descriptors
  void* address;
  void* allocation;
};

struct descriptor {
  enum class kind : std::uint32_t { free, event, memory };
  kind is;
  std::uint32_t count;   ///< of an event: signals not drained, written by visible accesses
  memory_block* memory;  ///< of memory
};

[[nodiscard]] constexpr bool is_simulated(int fd) noexcept {
  return fd >= first_descriptor && fd < first_descriptor + most_descriptors;
}
/// The open descriptor of that number and kind, or null.
[[nodiscard]] descriptor* find_descriptor(int fd, descriptor::kind kind) noexcept;
[[nodiscard]] result<int> open_descriptor(descriptor::kind kind) noexcept;
/// Forgets a block that no descriptor names any more.
void drop_memory(memory_block& block) noexcept;

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform
