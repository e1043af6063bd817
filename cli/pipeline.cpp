// SPDX-License-Identifier: Apache-2.0
#include "pipeline.hpp"

#include <new>

#include "interlock/task.hpp"

namespace interlock::cli {

const char* name_of(link_style link) noexcept {
  switch (link) {
    case link_style::memory: return "memory";
    case link_style::callback: return "callback";
    case link_style::wait: return "wait";
  }
  return "";
}

pipeline::pipeline(const input_file& input, const output_file& output,
                   const pipeline_options& options)
    : input_{input}, output_{output}, options_{options} {}

pipeline::~pipeline() = default;

maybe_failure pipeline::open_queue(const provider& from, const std::string& name,
                                   std::unique_ptr<device_queue>& queue) {
  device_queue_options wanted;
  wanted.name = name.c_str();
  wanted.ring_size = options_.depth + 1;  // and the end of the stream
  wanted.link = options_.link == link_style::callback ? link_mode::callback : link_mode::memory;
  wanted.timestamps = options_.record != nullptr;
  wanted.arm_every_fence = options_.arm_all;
  auto opened = from.open(wanted);
  if (!opened) {
    return fail("cannot open device {} of provider {}: {}", name, from.name,
                describe_error(opened.error()));
  }
  queue = std::move(*opened);
  return {};
}

maybe_failure pipeline::open_memory() {
  // The slots before a chunk hold its history: they are not reused while it is under way.
  const std::size_t history_slots =
      (options_.plan.history + options_.plan.chunk - 1) / options_.plan.chunk;
  slot_count_ = options_.depth + history_slots;
  result_size_ = zstd_chunk_bound(options_.plan.chunk);
  auto mapped = content_.open(slot_count_ * options_.plan.chunk);
  slots_.reset(new (std::nothrow) slot[slot_count_]);
  results_.reset(new (std::nothrow) std::byte[options_.depth * result_size_]);
  if (!mapped || !slots_ || !results_) {
    const error why = mapped ? error::not_enough_memory : mapped.error();
    return fail("cannot get memory for {} chunks of {} bytes: {}", slot_count_, options_.plan.chunk,
                describe_error(why));
  }
  compressors_.reserve(options_.devices);
  for (unsigned i = 0; i < options_.devices; ++i) {
    compressors_.emplace_back(options_.plan, options_.level);
    if (auto opened = compressors_.back().open(); !opened) {
      return fail("cannot make a zstd context: {}", describe_error(opened.error()));
    }
  }
  return {};
}

maybe_failure pipeline::open() {
  if (auto problem = open_memory()) return problem;
  if (auto problem = open_queue(*options_.files, "read", read_queue_)) return problem;
  engines_.resize(options_.devices);
  for (unsigned i = 0; i < options_.devices; ++i) {
    const std::string name = "compress" + std::to_string(i);
    if (auto problem = open_queue(engine_provider(), name, engines_[i])) return problem;
  }
  if (auto problem = open_queue(*options_.files, "write", write_queue_)) return problem;
  if (options_.record != nullptr) {
    auto& tracks = options_.record->tracks;
    tracks.push_back({"submitter", {}});
    tracks.push_back({"read", {}});
    for (unsigned i = 0; i < options_.devices; ++i)
      tracks.push_back({fmt::format("compress{}", i), {}});
    tracks.push_back({"write", {}});
  }
  return {};
}

void pipeline::cancel() noexcept {
  stop_.store_seq_cst(1);
  cancel_queues(error::operation_canceled);
}

void pipeline::cancel_queues(error e) noexcept {
  for (const auto& engine : engines_) {
    if (engine) engine->cancel_all(e);
  }
  if (read_queue_) read_queue_->cancel_all(e);
  if (write_queue_) write_queue_->cancel_all(e);
}

bool pipeline::has_chunk(std::uint64_t chunk) const noexcept {
  if (!input_.size()) return !end_seen_;
  return chunk * options_.plan.chunk < *input_.size();
}

maybe_failure pipeline::run() {
  const std::uint64_t wakes_before = wakeups_of(current_task());
  const deadline begin = monotonic_clock::now();
  auto problem = options_.link == link_style::wait ? run_waiting() : run_tied();
  if (!problem) problem = finish_stream();
  elapsed_ = monotonic_clock::now() - begin;
  submitter_wakes_ = wakeups_of(current_task()) - wakes_before;
  return problem;
}

/// Submits whole chains; the devices do the rest.
maybe_failure pipeline::run_tied() {
  std::uint64_t next = 0;
  std::uint64_t oldest = 0;
  maybe_failure problem;
  while (!problem && (oldest < next || has_chunk(next))) {
    if (next - oldest < options_.depth && has_chunk(next)) {
      slot& s = slot_of(next);
      prepare_slot(s, next++);
      for (const stage which : {stage::read, stage::compress, stage::write}) {
        if (!problem) problem = submit(s, which);
      }
    } else {
      problem = retire(oldest);
      if (!problem) ++oldest;
    }
  }
  if (problem) problem->message += settle(oldest, next);
  return problem;
}

/// The bytes after the last chunk.
maybe_failure pipeline::finish_stream() {
  last_write_.kind = job_kind::write;
  last_write_.fd = output_.fd();
  last_write_.cookie = this;
  last_write_.prepare = [](job& self) {
    auto& owner = *static_cast<pipeline*>(self.cookie);
    const std::span<std::byte> bytes = owner.trailer_.finish(owner.options_.plan.framing);
    self.buffer = bytes.data();
    self.length = bytes.size();
    self.offset = owner.output_.is_stream() ? -1 : static_cast<std::int64_t>(owner.write_offset_);
    owner.write_offset_ += bytes.size();
    return 0;
  };
  const deadline begin = monotonic_clock::now();
  auto fence = write_queue_->submit(last_write_);
  if (!fence) return fail("cannot submit the end of the stream: {}", describe_error(fence.error()));
  // A consumer of a pipe may take its time.
  (void)wait_quietly(**fence,
                     output_.is_stream() ? no_deadline : deadline_after(options_.watchdog));
  if ((*fence)->status() == 0) cancel_queues(error::timed_out);
  (*fence)->wait();
  const int status = (*fence)->status();
  if (stop_.load_acquire() != 0) return fail("interrupted");
  if (status < 0) {
    return fail("cannot write '{}': {}", output_.name(),
                describe_error(from_negative_errno(status)));
  }
  if (options_.record != nullptr) {
    const std::uint64_t chunks = progress_.chunks.load(std::memory_order_relaxed);
    const deadline end = monotonic_clock::now();
    note_submitter("submit the end, wait for it", chunks, begin, end, {});
    note_job("end of stream", stage::write, 0, chunks, last_write_, **fence, {});
    note_submitter("retire the end", chunks, end, monotonic_clock::now(), {key_of(**fence)});
  }
  progress_.bytes_out.store(write_offset_, std::memory_order_relaxed);
  return {};
}

run_counts pipeline::counts() const {
  run_counts sum;
  sum.elapsed = elapsed_;
  sum.chunks = progress_.chunks.load(std::memory_order_relaxed);
  sum.bytes_in = progress_.bytes_in.load(std::memory_order_relaxed);
  sum.bytes_out = progress_.bytes_out.load(std::memory_order_relaxed);
  sum.pool_bytes = content_.size() + options_.depth * result_size_;
  sum.submitter = {submitter_wakes_, submitter_link_wakes_};
  const auto add = [&sum](device_queue& queue, wake_counts& wakes) {
    const device_queue_statistics device = queue.statistics();
    const seqno_statistics fences = seqno_timeline_get_statistics(queue.timeline());
    sum.fences_made += fences.fences_made;
    sum.fences_armed += fences.fences_armed;
    sum.interrupts += device.interrupts;
    sum.memory_waits += device.memory_waits;
    sum.callback_waits += device.callback_waits;
    wakes.all += device.wakes;
    wakes.on_link += device.wakes_on_link;
  };
  add(*read_queue_, sum.files);
  add(*write_queue_, sum.files);
  for (const auto& engine : engines_) add(*engine, sum.engines);
  return sum;
}

}  // namespace interlock::cli
