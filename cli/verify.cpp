// SPDX-License-Identifier: Apache-2.0
#include "verify.hpp"

#include <zstd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

namespace interlock::cli {

namespace {

struct file_close {
  void operator()(std::FILE* file) const noexcept { std::fclose(file); }
};
using file_ptr = std::unique_ptr<std::FILE, file_close>;

struct decoder_delete {
  void operator()(ZSTD_DCtx* decoder) const noexcept { ZSTD_freeDCtx(decoder); }
};

failure cannot_read(const std::string& name) {
  return fail("verify: cannot read '{}': {}", name, describe_error(static_cast<error>(errno)));
}

/// The next `bytes` of `original` are those in `decoded`.
bool matches(std::FILE* original, std::vector<char>& scratch, const std::vector<char>& decoded,
             std::size_t bytes) {
  return std::fread(scratch.data(), 1, bytes, original) == bytes &&
         std::memcmp(scratch.data(), decoded.data(), bytes) == 0;
}

}  // namespace

maybe_failure verify_output(const std::string& input, const std::string& output) {
  const file_ptr original{std::fopen(input.c_str(), "rbe")};
  if (!original) return cannot_read(input);
  const file_ptr packed{std::fopen(output.c_str(), "rbe")};
  if (!packed) return cannot_read(output);
  const std::unique_ptr<ZSTD_DCtx, decoder_delete> decoder{ZSTD_createDCtx()};
  if (!decoder) return fail("verify: {}", describe_error(error::not_enough_memory));

  std::vector<char> coded(ZSTD_DStreamInSize());
  std::vector<char> decoded(ZSTD_DStreamOutSize());
  std::vector<char> scratch(decoded.size());
  std::uint64_t at = 0;
  std::size_t more = 1;  // 0: a frame has ended just now
  while (const std::size_t bytes = std::fread(coded.data(), 1, coded.size(), packed.get())) {
    ZSTD_inBuffer in{coded.data(), bytes, 0};
    bool full = false;
    while (in.pos < in.size || full) {
      ZSTD_outBuffer out{decoded.data(), decoded.size(), 0};
      more = ZSTD_decompressStream(decoder.get(), &out, &in);
      if (ZSTD_isError(more)) {
        return fail("verify: '{}' is damaged: {}", output, ZSTD_getErrorName(more));
      }
      if (!matches(original.get(), scratch, decoded, out.pos)) {
        return fail("verify: '{}' differs from '{}' after byte {}", output, input, at);
      }
      at += out.pos;
      full = out.pos == out.size;
    }
  }
  if (std::ferror(packed.get()) != 0) return cannot_read(output);
  if (more != 0) return fail("verify: '{}' is not complete", output);
  if (std::fgetc(original.get()) != EOF) {
    return fail("verify: '{}' ends at byte {}, '{}' goes on", output, at, input);
  }
  return {};
}

}  // namespace interlock::cli
