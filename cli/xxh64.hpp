// SPDX-License-Identifier: Apache-2.0
#pragma once

/// XXH64, the checksum at the end of a zstd frame (RFC 8878, section 3.1.1).

#include <cstddef>
#include <cstdint>
#include <span>

namespace interlock::cli {

/// Takes data in pieces of any size. The seed is 0, as in a zstd frame.
class xxh64 {
 public:
  void update(std::span<const std::byte> data) noexcept;
  [[nodiscard]] std::uint64_t digest() const noexcept;

 private:
  static constexpr std::size_t stripe = 32;

  void consume(const std::byte* data) noexcept;

  std::uint64_t lanes_[4] = {0x60ea27eeadc0b5d6, 0xc2b2ae3d27d4eb4f, 0, 0x61c8864e7a143579};
  std::byte pending_[stripe] = {};
  std::size_t pending_size_ = 0;
  std::uint64_t total_ = 0;
};

}  // namespace interlock::cli
