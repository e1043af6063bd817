// SPDX-License-Identifier: Apache-2.0

#include "model/pipeline_stand_ins.hpp"

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>

#include "input_file.hpp"
#include "interlock/device/job_server.hpp"
#include "interlock/device/ring_queue.hpp"
#include "output_file.hpp"
#include "ring_memory.hpp"
#include "zstd_stream.hpp"

namespace interlock::test {

memory_files files;

namespace {

std::int64_t transfer(void* /*device*/, job_entry& entry) {
  const job& work = *entry.work;
  const auto at = static_cast<std::size_t>(work.offset);
  if (work.kind == job_kind::read) {
    const std::size_t left = files.input_size - std::min(at, files.input_size);
    const std::size_t size = std::min(work.length, left);
    std::memcpy(work.buffer, files.input + at, size);
    return static_cast<std::int64_t>(size);
  }
  if (at + work.length > memory_files::most) return to_negative_errno(error::file_too_large);
  std::memcpy(files.output + at, work.buffer, work.length);
  files.output_size = std::max(files.output_size, at + work.length);
  return static_cast<std::int64_t>(work.length);
}

class file_queue final : public ring_queue {
 public:
  static result<std::unique_ptr<device_queue>> open(const device_queue_options& options) noexcept {
    auto made = std::make_unique<file_queue>();
    const job_kinds kinds = kind_bit(job_kind::read) | kind_bit(job_kind::write);
    auto server = make_job_server({"memory", kinds, true, &transfer, nullptr}, nullptr, options);
    if (!server) return server.error();
    made->server_ = *server;
    made->ring_ = &job_server_ring(**server);
    return std::unique_ptr<device_queue>{std::move(made)};
  }
  ~file_queue() override {
    if (server_ != nullptr) destroy_job_server(server_);
  }

 private:
  job_server* server_ = nullptr;
};

}  // namespace

const provider& memory_file_provider() noexcept {
  static constexpr provider memory{
      "memory", "files that are memory",
      device_feature::memory_wait | device_feature::file_io | device_feature::fault_injection,
      []() noexcept { return provider_probe{.available = true}; }, &file_queue::open};
  return memory;
}

std::size_t squeeze(std::span<const std::byte> input, std::byte before,
                    std::byte* output) noexcept {
  std::size_t left = 0;
  for (const std::byte b : input) {
    if (b != before) output[++left] = b;
    before = b;
  }
  output[0] = static_cast<std::byte>(left);
  return left + 1;
}

}  // namespace interlock::test

namespace interlock::cli {

maybe_failure input_file::open(const std::string& path) {
  name_ = path;
  size_ = test::files.input_size;
  return {};
}

output_file::~output_file() = default;

ring_memory::~ring_memory() { delete[] base_; }

/// Mapped once: tests have no chunk whose history wraps around.
result<void> ring_memory::open(std::size_t size) noexcept {
  base_ = new std::byte[2 * size];
  size_ = size;
  return {};
}

std::size_t zstd_chunk_bound(std::size_t chunk) noexcept { return chunk + 1; }

void zstd_compressor::context_delete::operator()(ZSTD_CCtx_s* /*context*/) const noexcept {}

result<void> zstd_compressor::open() noexcept {
  if (level_ != zstd_level_default) return error::invalid_argument;
  return {};
}

std::int64_t zstd_compressor::compress(std::span<const std::byte> input, std::size_t history,
                                       bool first, std::span<std::byte> output,
                                       const atomic<std::uint32_t>& stop) noexcept {
  const bool planned = history <= plan_.history && input.size() <= plan_.chunk;
  const bool fits = output.size() >= zstd_chunk_bound(input.size());
  if (!planned || !fits || first != (history == 0)) return -EINVAL;
  if (stop.load_relaxed() != 0) return -ECANCELED;
  const std::byte before = first ? std::byte{} : input.data()[-1];
  return static_cast<std::int64_t>(test::squeeze(input, before, output.data()));
}

/// One byte that tells the order of what was put in.
std::span<std::byte> zstd_trailer::finish(zstd_framing /*framing*/) noexcept {
  bytes_[0] = static_cast<std::byte>(checksum_.digest());
  return {bytes_, 1};
}

}  // namespace interlock::cli
