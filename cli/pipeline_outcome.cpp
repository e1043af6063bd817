// SPDX-License-Identifier: Apache-2.0
#include "interlock/task.hpp"
#include "pipeline.hpp"

namespace interlock::cli {

namespace {

constexpr ktime settle_time = std::chrono::milliseconds{250};
constexpr stage all_stages[] = {stage::read, stage::compress, stage::write};

std::string describe_fence(const dma_fence& fence) {
  char text[160];
  return {text, fence.describe(text, sizeof text)};
}

/// Of a fence before one that has failed. Where memory has decided it, another may be about to
/// signal it.
int settled_status(dma_fence& fence) noexcept {
  const seqno_point point = to_seqno_fence(fence);
  const bool decided =
      point.timeline != nullptr && (seqno_timeline_passed(*point.timeline, point.seqno) ||
                                    seqno_timeline_error(*point.timeline) != 0);
  if (decided) fence.wait();
  return fence.status();
}

double seconds(ktime time) { return std::chrono::duration<double>(time).count(); }

}  // namespace

/// Without arming the fence where memory will do.
bool pipeline::wait_quietly(dma_fence& fence, deadline until) noexcept {
  if (options_.link == link_style::memory && !options_.arm_all) {
    const seqno_point point = to_seqno_fence(fence);
    if (point.timeline == nullptr) return true;
    if (seqno_wait_until(*point.timeline, point.seqno, until) == seqno_wait_end::timed_out) {
      return false;
    }
    // Decided; but who has settled it may not have signalled it yet.
  }
  return fence.wait_until(until);
}

/// Waits for the last stage of a chunk, so that its slot can be used again.
maybe_failure pipeline::wait_for(slot& s) {
  dma_fence& fence = *s.fence(stage::write);
  while (!wait_quietly(fence, deadline_after(options_.watchdog))) {
    // Who feeds or empties a pipe is not ours to hurry.
    const bool starved = !input_.size() && s.fence(stage::read)->status() == 0;
    const bool blocked = output_.is_stream() && s.fence(stage::compress)->status() != 0;
    if (!starved && !blocked) return explain_overdue(s);
  }
  return {};
}

/// Waits for a chunk and takes stock of it.
maybe_failure pipeline::retire(std::uint64_t chunk) {
  if (stop_.load_acquire() != 0) return fail("interrupted");
  slot& s = slot_of(chunk);
  const bool traced = options_.record != nullptr;
  const deadline begin = traced ? monotonic_clock::now() : deadline{};
  const bool done = s.fence(stage::write)->status() != 0;
  if (auto problem = wait_for(s)) return problem;
  if (stop_.load_acquire() != 0) return fail("interrupted");
  if (traced) {
    const deadline end = monotonic_clock::now();
    if (!done) note_submitter(fmt::format("wait for chunk {}", chunk), chunk, begin, end, {});
    note_chunk(s);
    // The arrow of the write fence: an arrow into the wait would begin after its end.
    note_submitter(fmt::format("retire {}", chunk), chunk, end, monotonic_clock::now(),
                   {key_of(*s.fence(stage::write))});
  }
  if (s.fence(stage::write)->status() < 0) return explain(s);

  const auto bytes = static_cast<std::uint64_t>(s.at(stage::read).result);
  if (bytes < options_.plan.chunk) end_seen_ = true;
  if (bytes != 0 || chunk == 0) progress_.chunks.fetch_add(1, std::memory_order_relaxed);
  progress_.bytes_in.fetch_add(bytes, std::memory_order_relaxed);
  progress_.bytes_out.fetch_add(s.at(stage::write).length, std::memory_order_relaxed);
  return {};
}

/// The first stage that failed is the cause; the others failed because of it.
failure pipeline::explain(slot& s) {
  const std::uint64_t at = s.chunk * options_.plan.chunk;
  const auto injected = [&](stage which) {
    const auto& fault = options_.inject;
    return fault && fault->where == which && fault->chunk == s.chunk ? " (injected)" : "";
  };
  if (const int status = settled_status(*s.fence(stage::read)); status < 0) {
    return fail("cannot read '{}' at byte {}: {}{}", input_.name(), at,
                describe_error(from_negative_errno(status)), injected(stage::read));
  }
  if (s.shortened) {
    return fail("'{}' became shorter while it was read: it ends at byte {} of {}", input_.name(),
                at + static_cast<std::uint64_t>(s.at(stage::read).result), *input_.size());
  }
  if (const int status = settled_status(*s.fence(stage::compress)); status < 0) {
    return fail("chunk {}: device {} failed to compress it: {}{}", s.chunk, s.device,
                describe_error(from_negative_errno(status)), injected(stage::compress));
  }
  return fail("cannot write '{}': {}{}", output_.name(),
              describe_error(from_negative_errno(s.fence(stage::write)->status())),
              injected(stage::write));
}

/// Names the fence that holds everything up, who should have signalled it, and since when it is
/// due.
failure pipeline::explain_overdue(slot& s) {
  for (const stage which : all_stages) {
    if (!s.fence(which) || s.fence(which)->status() != 0) continue;
    const dma_fence& fence = *s.fence(which);
    const double age = seconds(monotonic_clock::now() - s.submitted);
    return fail("chunk {}: a fence is overdue: {}, submitted {:.1f} s ago; watchdog {:.1f} s",
                s.chunk, describe_fence(fence), age, seconds(options_.watchdog));
  }
  return fail("chunk {}: done just after the watchdog's {:.1f} s", s.chunk,
              seconds(options_.watchdog));
}

/// After a failure: lets finish what does not depend on it, cancels the rest. Says what became of
/// the chunks first..end-1.
std::string pipeline::settle(std::uint64_t first, std::uint64_t end) {
  std::size_t completed = 0, failed = 0, pending = 0;
  const bool interrupted = stop_.load_acquire() != 0;
  const deadline until = deadline_after(interrupted ? ktime{} : settle_time);
  for (std::uint64_t chunk = first; chunk < end; ++chunk) {
    for (auto& fence : slot_of(chunk).fences) {
      if (!fence) continue;
      if (!interrupted) (void)fence->wait_until(until);
      const int status = fence->status();
      ++(status == 0 ? pending : status > 0 ? completed : failed);
    }
  }
  stop_.store_seq_cst(1);
  cancel_queues(error::operation_canceled);
  drain(first, end);
  if (interrupted) return {};
  return fmt::format(
      "\n  fences under way: {} completed all the same, {} failed with it, {} were cancelled",
      completed, failed, pending);
}

void pipeline::drain(std::uint64_t first, std::uint64_t end) noexcept {
  for (std::uint64_t chunk = first; chunk < end; ++chunk) {
    for (auto& fence : slot_of(chunk).fences) {
      if (fence) fence->wait();
    }
  }
}

/// Writes the jobs of a chunk into the record.
void pipeline::note_chunk(slot& s) {
  for (const stage which : all_stages) {
    note_job(fmt::format("chunk {}", s.chunk), which, s.device, s.chunk, s.at(which),
             *s.fence(which), std::move(s.follows[static_cast<unsigned>(which)]));
  }
}

void pipeline::note_job(std::string name, stage which, unsigned device, std::uint64_t chunk,
                        const job& work, const dma_fence& fence, std::vector<fence_key> follows) {
  const std::size_t track = which == stage::read       ? 1
                            : which == stage::compress ? 2 + device
                                                       : 2 + options_.devices;
  options_.record->tracks[track].spans.push_back({std::move(name), work.started, work.finished,
                                                  chunk, work.result, key_of(fence),
                                                  std::move(follows)});
}

void pipeline::note_submitter(std::string name, std::uint64_t chunk, deadline begin, deadline end,
                              std::vector<fence_key> follows) {
  options_.record->tracks[0].spans.push_back(
      {std::move(name), begin, end, chunk, 0, {}, std::move(follows)});
}

}  // namespace interlock::cli
