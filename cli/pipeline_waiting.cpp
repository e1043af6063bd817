// SPDX-License-Identifier: Apache-2.0

/// The same pipeline in the classical way: the submitting thread is woken for each link, and then
/// submits the next stage. Here to be compared with the others.

#include <vector>

#include "interlock/task.hpp"
#include "pipeline.hpp"

namespace interlock::cli {

namespace {

/// A chunk and the stage that it is in.
struct flight {
  std::uint64_t chunk;
  stage at;
};

}  // namespace

maybe_failure pipeline::run_waiting() {
  std::vector<flight> flights;  // in order of the chunks
  std::vector<dma_fence*> fences;
  std::uint64_t next = 0;
  std::uint64_t next_write = 0;
  maybe_failure problem;

  /// Takes a chunk as far as it goes without a wait; true if it is over.
  const auto advance = [&](flight& f) {
    slot& s = slot_of(f.chunk);
    while (!problem && s.fence(f.at)->status() != 0) {
      if (f.at == stage::write) {
        problem = retire(f.chunk);
        return !problem;
      }
      if (s.fence(f.at)->status() < 0) {
        problem = explain(s);
      } else if (f.at == stage::read) {
        problem = submit(s, f.at = stage::compress);
      } else if (f.chunk == next_write) {
        ++next_write;
        problem = submit(s, f.at = stage::write);
      } else {
        break;  // the chunk before it is written first
      }
    }
    return false;
  };

  while (!problem && (!flights.empty() || has_chunk(next))) {
    while (!problem && flights.size() < options_.depth && has_chunk(next)) {
      slot& s = slot_of(next);
      prepare_slot(s, next);
      problem = submit(s, stage::read);
      flights.push_back({next++, stage::read});
    }
    fences.clear();
    for (const flight& f : flights) {
      dma_fence* const fence = slot_of(f.chunk).fence(f.at).get();
      if (fence != nullptr && (f.at != stage::compress || fence->status() == 0)) {
        fences.push_back(fence);
      }
    }
    if (problem) break;
    const std::uint64_t before = wakeups_of(current_task());
    const auto first = dma_fence_wait_any(fences, deadline_after(options_.watchdog));
    const bool on_write = first && *first == 0 && flights.front().at == stage::write;
    if (!on_write) submitter_link_wakes_ += wakeups_of(current_task()) - before;
    if (stop_.load_acquire() != 0) problem = fail("interrupted");
    if (!first && !problem && first.error() != error::timed_out) {
      problem = fail("cannot wait for the devices: {}", describe_error(first.error()));
    }
    const bool patient = !input_.size() || output_.is_stream();
    if (!first && !problem && !patient) problem = explain_overdue(slot_of(flights.front().chunk));
    while (!problem && !flights.empty() && advance(flights.front())) {
      flights.erase(flights.begin());
    }
    for (flight& f : flights) {
      if (!problem && f.chunk != flights.front().chunk) (void)advance(f);
    }
  }
  if (problem && !flights.empty()) problem->message += settle(flights.front().chunk, next);
  return problem;
}

}  // namespace interlock::cli
