// SPDX-License-Identifier: Apache-2.0

/// The accesses of this platform that the machine sees: the one instrumented file of the folder.

#include <atomic>

#include "model.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::platform {

std::uint32_t visible_load_acquire(const std::uint32_t& word) noexcept {
  return std::atomic_ref{const_cast<std::uint32_t&>(word)}.load(std::memory_order_acquire);
}

std::uint32_t visible_add_release(std::uint32_t& word, std::uint32_t by) noexcept {
  return std::atomic_ref{word}.fetch_add(by, std::memory_order_release);
}

std::uint32_t visible_exchange_acquire(std::uint32_t& word, std::uint32_t value) noexcept {
  return std::atomic_ref{word}.exchange(value, std::memory_order_acquire);
}

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform
