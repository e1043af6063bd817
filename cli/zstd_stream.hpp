// SPDX-License-Identifier: Apache-2.0
#pragma once

/// One zstd stream made of chunks that are compressed apart from one another.
///
/// Two framings:
/// - sections: one frame. Each chunk is a row of blocks that may refer back to the bytes before it,
///   its history, so that cutting costs no ratio. Each context that begins a section must forget
///   the repeat offsets that a frame starts with; the call for that is in the static libzstd only.
/// - frames: each chunk is a frame of its own. Costs ratio where chunks are small.
/// `zstd -d` reads both. Which ones are there is decided when the tool is built.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "interlock/atomic.hpp"
#include "interlock/result.hpp"
#include "xxh64.hpp"

struct ZSTD_CCtx_s;

namespace interlock::cli {

enum class zstd_framing { sections, frames };

/// True if the tool was built with a libzstd that can make sections.
[[nodiscard]] bool zstd_has_sections() noexcept;
[[nodiscard]] const char* zstd_library_version() noexcept;
[[nodiscard]] int zstd_level_min() noexcept;
[[nodiscard]] int zstd_level_max() noexcept;
inline constexpr int zstd_level_default = 3;

/// How an input is cut.
struct chunk_plan {
  zstd_framing framing;
  std::size_t chunk;    ///< bytes, a multiple of 4096
  std::size_t history;  ///< bytes before a chunk that it may refer to; 0 for frames
};
/// The plan for a level; `chunk` and `input` are bytes, absent if not asked for or not known.
[[nodiscard]] chunk_plan make_chunk_plan(int level, zstd_framing framing,
                                         std::optional<std::size_t> chunk,
                                         std::optional<std::uint64_t> input) noexcept;

/// The most bytes that a chunk becomes, with what stands before it.
[[nodiscard]] std::size_t zstd_chunk_bound(std::size_t chunk) noexcept;

/// Compresses chunks; one per device, used by one thread at a time.
class zstd_compressor {
 public:
  zstd_compressor(const chunk_plan& plan, int level) noexcept : plan_{plan}, level_{level} {}

  /// Errors: not_enough_memory.
  [[nodiscard]] result<void> open() noexcept;

  /// Compresses `input`; the `history` bytes of memory before it are the stream's bytes before it.
  /// `first`: the chunk that begins the stream. Bytes produced, or -errno (-ECANCELED if `stop` was
  /// set, which is looked at every 128 KiB).
  [[nodiscard]] std::int64_t compress(std::span<const std::byte> input, std::size_t history,
                                      bool first, std::span<std::byte> output,
                                      const atomic<std::uint32_t>& stop) noexcept;

 private:
  struct context_delete {
    void operator()(ZSTD_CCtx_s* context) const noexcept;
  };

  chunk_plan plan_;
  int level_;
  std::unique_ptr<ZSTD_CCtx_s, context_delete> context_;
};

/// What ends a stream of sections: an empty last block, and the checksum of all content.
class zstd_trailer {
 public:
  /// In order of the chunks.
  void update(std::span<const std::byte> content) noexcept { checksum_.update(content); }
  /// The last bytes of the stream; none for frames. Lifetime: this object's.
  [[nodiscard]] std::span<std::byte> finish(zstd_framing framing) noexcept;

 private:
  xxh64 checksum_;
  std::byte bytes_[7] = {};
};

}  // namespace interlock::cli
