// SPDX-License-Identifier: Apache-2.0
#include "zstd_stream.hpp"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <utility>

// The block-wise calls that libzstd's own multi-threaded compressor is made of.
#define ZSTD_STATIC_LINKING_ONLY
#define ZSTD_DISABLE_DEPRECATE_WARNINGS
#include <zstd.h>
#include <zstd_errors.h>

#if INTERLOCK_ZSTD_SECTIONS
// zstd_compress_internal.h of libzstd; cli/CMakeLists.txt checks that it links.
extern "C" void ZSTD_invalidateRepCodes(ZSTD_CCtx* context);
#else
static void ZSTD_invalidateRepCodes(ZSTD_CCtx*) noexcept {}
#endif

namespace interlock::cli {

namespace {

constexpr std::size_t page = 4096;
constexpr std::size_t block = ZSTD_BLOCKSIZE_MAX;
constexpr std::size_t frame_header_size = 6;
constexpr std::size_t chunk_min = 512 * 1024;
constexpr std::size_t reach_max = std::size_t{1} << 27;
/// A stream is cut into about so many chunks where its size is known: enough to keep devices even.
constexpr std::uint64_t chunks_wanted = 48;

ZSTD_parameters parameters_of(int level) noexcept {
  ZSTD_parameters parameters{};
  parameters.cParams = ZSTD_getCParams(level, ZSTD_CONTENTSIZE_UNKNOWN, 0);
  return parameters;
}

unsigned ceil_log2(std::size_t value) noexcept {
  return static_cast<unsigned>(std::bit_width(value - 1));
}

std::size_t round_up(std::size_t value, std::size_t unit) noexcept {
  return (value + unit - 1) / unit * unit;
}

int to_negative_errno(std::size_t zstd_error) noexcept {
  switch (ZSTD_getErrorCode(zstd_error)) {
    case ZSTD_error_memory_allocation: return -ENOMEM;
    case ZSTD_error_dstSize_tooSmall: return -EOVERFLOW;
    default: return -EBADMSG;
  }
}

/// The window of a frame as its header says it: a power of two, and eighths of that (RFC 8878).
std::byte window_descriptor(std::size_t reach) noexcept {
  unsigned exponent = ZSTD_WINDOWLOG_MIN;
  while ((std::size_t{2} << exponent) <= reach) ++exponent;
  const std::size_t base = std::size_t{1} << exponent;
  std::size_t eighths = reach <= base ? 0 : (reach - base + base / 8 - 1) / (base / 8);
  if (eighths == 8) {
    ++exponent;
    eighths = 0;
  }
  return static_cast<std::byte>((exponent - ZSTD_WINDOWLOG_MIN) << 3 | eighths);
}

/// Magic number, then: a checksum, no content size, no dictionary; then the window.
void write_frame_header(std::byte* to, std::size_t reach) noexcept {
  constexpr unsigned char magic[] = {0x28, 0xb5, 0x2f, 0xfd};
  std::memcpy(to, magic, sizeof magic);
  to[4] = std::byte{0x04};
  to[5] = window_descriptor(reach);
}

/// The match finders that take in history dearly, for what they need to find matches in it.
bool is_lazy(const ZSTD_compressionParameters& finder) noexcept {
  return finder.strategy >= ZSTD_greedy && finder.strategy <= ZSTD_lazy2;
}

/// The smallest and the largest chunk that `make_chunk_plan` chooses by itself. Small chunks keep
/// the devices even, but each takes in its history first: what that costs depends on the match
/// finder.
std::pair<std::size_t, std::size_t> chunk_range(const ZSTD_compressionParameters& finder) noexcept {
  const std::size_t window = std::size_t{1} << finder.windowLog;
  std::size_t least = window * 3 / 8;
  std::size_t most = window;
  if (is_lazy(finder)) least = most = window * 3 / 2;
  if (finder.strategy >= ZSTD_btlazy2) {
    least = window;
    most = window * 4;
  }
  least = std::clamp(least, chunk_min, reach_max / 2);
  return {least, std::clamp(most, least, reach_max / 2)};
}

}  // namespace

bool zstd_has_sections() noexcept { return INTERLOCK_ZSTD_SECTIONS != 0; }
const char* zstd_library_version() noexcept { return ZSTD_versionString(); }
int zstd_level_min() noexcept { return ZSTD_minCLevel(); }
int zstd_level_max() noexcept { return ZSTD_maxCLevel(); }

std::size_t zstd_chunk_bound(std::size_t chunk) noexcept {
  // Each 128 KiB that do not compress cost a block header; ZSTD_compressBound allows for more.
  return round_up(ZSTD_compressBound(chunk) + frame_header_size, page);
}

chunk_plan make_chunk_plan(int level, zstd_framing framing, std::optional<std::size_t> chunk,
                           std::optional<std::uint64_t> input) noexcept {
  const ZSTD_compressionParameters finder = parameters_of(level).cParams;
  const std::size_t window = std::size_t{1} << finder.windowLog;
  chunk_plan plan{framing, 0, 0};
  if (chunk) {
    plan.chunk = round_up(std::max<std::size_t>(*chunk, 1), page);
  } else if (framing == zstd_framing::frames) {
    plan.chunk =
        std::max(std::size_t{1} << 20, std::min(window * 4, reach_max));  // as `zstd -T` cuts
  } else {
    const auto [least, most] = chunk_range(finder);
    const std::uint64_t even =
        std::min<std::uint64_t>(input.value_or(most * chunks_wanted) / chunks_wanted, most);
    plan.chunk = round_up(std::max(static_cast<std::size_t>(even), least), 16 * page);
  }
  // With the whole window before it a chunk misses nothing that an undivided stream would find.
  // Decoders refuse frames that reach back further than `reach_max`.
  if (framing == zstd_framing::sections && plan.chunk + window <= reach_max) plan.history = window;
  return plan;
}

void zstd_compressor::context_delete::operator()(ZSTD_CCtx_s* context) const noexcept {
  ZSTD_freeCCtx(context);
}

result<void> zstd_compressor::open() noexcept {
  context_.reset(ZSTD_createCCtx());
  if (!context_) return error::not_enough_memory;
  return {};
}

std::int64_t zstd_compressor::compress(std::span<const std::byte> input, std::size_t history,
                                       bool first, std::span<std::byte> output,
                                       const atomic<std::uint32_t>& stop) noexcept {
  const bool frames = plan_.framing == zstd_framing::frames;
  if (frames && input.empty() && !first) return 0;  // a frame for nothing only if it is all
  history = frames ? 0 : std::min(history, plan_.history);

  // A history that starts with this number would be taken for a dictionary.
  std::uint32_t magic = 0;
  if (history >= sizeof magic) std::memcpy(&magic, input.data() - history, sizeof magic);
  if (magic == ZSTD_MAGIC_DICTIONARY) --history;

  ZSTD_parameters parameters = parameters_of(level_);
  parameters.fParams.checksumFlag = frames;
  parameters.fParams.contentSizeFlag = frames;
  // The history and the chunk together are what the frame's header promises to the decoder; a match
  // may reach back over all of it.
  if (plan_.history != 0) {
    parameters.cParams.windowLog =
        std::max(parameters.cParams.windowLog, ceil_log2(plan_.history + plan_.chunk));
  }
  ZSTD_CCtx* const context = context_.get();
  const unsigned long long pledged = frames ? input.size() : ZSTD_CONTENTSIZE_UNKNOWN;
  std::size_t done =
      ZSTD_compressBegin_advanced(context, input.data() - history, history, parameters, pledged);
  if (ZSTD_isError(done)) return to_negative_errno(done);

  std::size_t produced = 0;
  if (!frames) {
    // The header that this writes is the one of a frame by itself: it is written over.
    done = ZSTD_compressContinue(context, output.data(), output.size(), input.data(), 0);
    if (ZSTD_isError(done)) return to_negative_errno(done);
    ZSTD_invalidateRepCodes(context);
    if (first) {
      const std::size_t window = std::size_t{1} << parameters_of(level_).cParams.windowLog;
      const std::size_t reach = plan_.history == 0 ? 0 : plan_.chunk + plan_.history;
      write_frame_header(output.data(), std::max(reach, window));
      produced = frame_header_size;
    }
  }

  while (!input.empty()) {
    if (stop.load_relaxed() != 0) return -ECANCELED;
    const std::span<const std::byte> piece = input.first(std::min(block, input.size()));
    input = input.subspan(piece.size());
    done = ZSTD_compressContinue(context, output.data() + produced, output.size() - produced,
                                 piece.data(), piece.size());
    if (ZSTD_isError(done)) return to_negative_errno(done);
    produced += done;
  }
  if (frames) {
    done =
        ZSTD_compressEnd(context, output.data() + produced, output.size() - produced, nullptr, 0);
    if (ZSTD_isError(done)) return to_negative_errno(done);
    produced += done;
  }
  return static_cast<std::int64_t>(produced);
}

std::span<std::byte> zstd_trailer::finish(zstd_framing framing) noexcept {
  if (framing == zstd_framing::frames) return {};
  bytes_[0] = std::byte{1};  // last block, raw, of size 0
  const auto low = static_cast<std::uint32_t>(checksum_.digest());
  std::memcpy(bytes_ + 3, &low, sizeof low);
  return bytes_;
}

}  // namespace interlock::cli
