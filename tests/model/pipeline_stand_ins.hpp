// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What stands in for the system where the pipeline of `interlock compress` is explored: files that are memory, behind a
/// provider of their own, and a compressor that is a few lines. Nothing of the pipeline itself is replaced: these are
/// other definitions of the functions that it links with (input_file, output_file, ring_memory, zstd_*).

#include <cstddef>
#include <span>

#include "interlock/device/provider.hpp"

namespace interlock::test {

/// The one input, and the one output.
struct memory_files {
  static constexpr std::size_t most = 64;
  std::byte input[most];
  std::size_t input_size;
  std::byte output[most];
  std::size_t output_size;
};
extern memory_files files;

/// Reads and writes `files`; each queue has a thread, as that of `pread` has.
const provider& memory_file_provider() noexcept;

/// Drops each byte that is the same as the one before it. The number of those that are left, then these. Returns how many bytes.
std::size_t squeeze(std::span<const std::byte> input, std::byte before, std::byte* output) noexcept;

}  // namespace interlock::test
