// SPDX-License-Identifier: Apache-2.0
#pragma once

/// The pipeline: each chunk is a chain over three timelines, tied by fences.
///
///   read queue        read c        ─┐ fence
///   engine[c % N]       compress c  ─┴┐ fence
///   write queue           write c    ─┘  after write c-1, whose end is its offset
///
/// Memory is a ring of slots. The submitting thread fills a slot when the write of the chunk
/// `depth` before it is done: those are the only fences that it waits for (`link_style::wait`
/// excepted). A chunk's content is the history of the chunks after it, so the ring has a few slots
/// more than chunks are under way.
///
/// Invariants: I1. A slot's jobs belong to its devices from submit to the signal of their fences.
///   I2. All memory outlives the queues. I3. The stream's trailer and the offsets are touched by
///   the write queue's thread only, while jobs are under way.

#include <atomic>
#include <memory>
#include <vector>

#include "failure.hpp"
#include "fault.hpp"
#include "input_file.hpp"
#include "interlock/device/provider.hpp"
#include "output_file.hpp"
#include "ring_memory.hpp"
#include "run_counts.hpp"
#include "run_record.hpp"
#include "zstd_stream.hpp"

namespace interlock::cli {

/// Who carries a chunk from one stage to the next.
enum class link_style {
  memory,    ///< each device looks at the word of the one before it
  callback,  ///< each device arms the fence before it, and is woken by an interrupt
  wait,      ///< the submitting thread waits for each fence, then submits the next stage
};
[[nodiscard]] const char* name_of(link_style link) noexcept;

struct pipeline_options {
  int level = zstd_level_default;
  chunk_plan plan{};
  unsigned devices = 1;
  unsigned depth = 4;  ///< chunks under way at a time
  link_style link = link_style::memory;
  bool arm_all = false;
  const provider* files = nullptr;
  std::optional<fault> inject;
  ktime watchdog{};
  run_record* record = nullptr;  ///< if not null, what happened is written there
};

/// How far a run is; read by other threads.
struct pipeline_progress {
  std::atomic<std::uint64_t> chunks{0};
  std::atomic<std::uint64_t> bytes_in{0};
  std::atomic<std::uint64_t> bytes_out{0};
};

class pipeline {
 public:
  pipeline(const input_file& input, const output_file& output, const pipeline_options& options);
  pipeline(const pipeline&) = delete;
  pipeline& operator=(const pipeline&) = delete;
  ~pipeline();

  /// Gets memory and devices.
  [[nodiscard]] maybe_failure open();
  /// Compresses everything; once.
  [[nodiscard]] maybe_failure run();
  /// Makes `run` return soon, with a failure. From any thread, at any time.
  void cancel() noexcept;

  [[nodiscard]] const pipeline_progress& progress() const noexcept { return progress_; }
  /// After `run`.
  [[nodiscard]] run_counts counts() const;

 private:
  struct slot {
    pipeline* owner = nullptr;
    std::uint64_t chunk = 0;
    unsigned device = 0;
    bool shortened = false;  ///< the file had less than it should
    job jobs[3];
    ref_ptr<dma_fence> fences[3];
    deadline submitted{};
    std::vector<fence_key> follows[3];  ///< what each job waits for; if it is recorded

    [[nodiscard]] job& at(stage s) noexcept { return jobs[static_cast<unsigned>(s)]; }
    [[nodiscard]] ref_ptr<dma_fence>& fence(stage s) noexcept {
      return fences[static_cast<unsigned>(s)];
    }
  };

  // pipeline.cpp: the devices and the run.
  [[nodiscard]] maybe_failure open_queue(const provider& from, const std::string& name,
                                         std::unique_ptr<device_queue>& queue);
  [[nodiscard]] maybe_failure open_memory();
  void cancel_queues(error e) noexcept;
  [[nodiscard]] maybe_failure run_tied();
  [[nodiscard]] maybe_failure finish_stream();
  [[nodiscard]] slot& slot_of(std::uint64_t chunk) noexcept { return slots_[chunk % slot_count_]; }
  /// There is a chunk of this number, as far as is known by now.
  [[nodiscard]] bool has_chunk(std::uint64_t chunk) const noexcept;

  // pipeline_waiting.cpp: the run in which the submitting thread carries the links.
  struct waiting_run;
  [[nodiscard]] maybe_failure run_waiting();

  // pipeline_stages.cpp: one chunk.
  void prepare_slot(slot& s, std::uint64_t chunk) noexcept;
  [[nodiscard]] maybe_failure submit(slot& s, stage which);
  [[nodiscard]] device_queue& queue_of(const slot& s, stage which) noexcept;
  [[nodiscard]] maybe_failure inject_if_due(const slot& s, stage which);
  [[nodiscard]] std::uint64_t expected_bytes(std::uint64_t chunk) const noexcept;
  static std::int64_t compress_chunk(job& self) noexcept;
  static int place_write(job& self) noexcept;

  // pipeline_outcome.cpp: what became of it.
  [[nodiscard]] maybe_failure retire(std::uint64_t chunk);
  [[nodiscard]] maybe_failure wait_for(slot& s);
  [[nodiscard]] bool wait_quietly(dma_fence& fence, deadline until) noexcept;
  void note_chunk(slot& s);
  void note_job(std::string name, stage which, unsigned device, std::uint64_t chunk,
                const job& work, const dma_fence& fence, std::vector<fence_key> follows);
  void note_submitter(std::string name, std::uint64_t chunk, deadline begin, deadline end,
                      std::vector<fence_key> follows);
  [[nodiscard]] failure explain(slot& s);
  [[nodiscard]] failure explain_overdue(slot& s);
  [[nodiscard]] std::string settle(std::uint64_t first, std::uint64_t end);
  void drain(std::uint64_t first, std::uint64_t end) noexcept;

  const input_file& input_;
  const output_file& output_;
  const pipeline_options options_;

  ring_memory content_;
  std::unique_ptr<std::byte[]> results_;
  std::size_t result_size_ = 0;
  std::unique_ptr<slot[]> slots_;
  std::size_t slot_count_ = 0;
  std::vector<zstd_compressor> compressors_;
  zstd_trailer trailer_;
  job last_write_;
  std::uint64_t write_offset_ = 0;
  bool end_seen_ = false;  ///< a chunk was shorter than asked for
  atomic<std::uint32_t> stop_{0};
  pipeline_progress progress_;
  ktime elapsed_{};
  std::uint64_t submitter_wakes_ = 0;
  std::uint64_t submitter_link_wakes_ = 0;

  // Last, so that they end first (I2).
  std::unique_ptr<device_queue> read_queue_;
  std::unique_ptr<device_queue> write_queue_;
  std::vector<std::unique_ptr<device_queue>> engines_;
};

}  // namespace interlock::cli
