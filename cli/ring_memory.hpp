// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Memory in the form of a ring: mapped twice in a row, so that what wraps around its end is one
/// piece of addresses all the same. A chunk in it has the chunks before it right before it.

#include <cstddef>

#include "interlock/result.hpp"

namespace interlock::cli {

class ring_memory {
 public:
  ring_memory() noexcept = default;
  ring_memory(const ring_memory&) = delete;
  ring_memory& operator=(const ring_memory&) = delete;
  ~ring_memory();

  /// `size` is a multiple of the page size. Errors: those of mmap(2) and mremap(2).
  [[nodiscard]] result<void> open(std::size_t size) noexcept;

  /// `offset` is in 0..size. The `size` bytes before the result are the ring's bytes before it.
  [[nodiscard]] std::byte* at(std::size_t offset) noexcept { return base_ + size_ + offset; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

 private:
  std::byte* base_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace interlock::cli
