// SPDX-License-Identifier: Apache-2.0
#pragma once

/// XXH64 of a stream, the checksum at the end of a zstd frame (RFC 8878, section 3.1.1), by libxxhash.

#define XXH_STATIC_LINKING_ONLY  // the state by value: nothing is allocated
#include <xxhash.h>

#include <cstddef>
#include <cstdint>
#include <span>

namespace interlock::cli {

/// Takes data in pieces of any size. The seed is 0, as in a zstd frame.
class xxh64 {
 public:
  xxh64() noexcept { XXH64_reset(&state_, 0); }
  void update(std::span<const std::byte> data) noexcept {
    XXH64_update(&state_, data.data(), data.size());
  }
  [[nodiscard]] std::uint64_t digest() const noexcept { return XXH64_digest(&state_); }

 private:
  XXH64_state_t state_;
};

}  // namespace interlock::cli
