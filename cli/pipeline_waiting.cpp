// SPDX-License-Identifier: Apache-2.0

/// The same pipeline in the classical way: the submitting thread is woken for each link, and then
/// submits the next stage. Here to be compared with the others.

#include <vector>

#include "interlock/task.hpp"
#include "pipeline.hpp"

namespace interlock::cli {

/// The state of such a run.
struct pipeline::waiting_run {
  /// A chunk and the stage that it is in.
  struct flight {
    std::uint64_t chunk;
    stage at;
  };

  pipeline& owner;
  std::vector<flight> flights{};  ///< in order of the chunks
  std::vector<dma_fence*> fences{};
  std::uint64_t next = 0;
  std::uint64_t next_write = 0;
  maybe_failure problem{};

  [[nodiscard]] bool is_over() const {
    return problem || (flights.empty() && !owner.has_chunk(next));
  }
  void start_chunks();
  void wait_for_any();
  /// Takes a chunk as far as it goes without a wait; true if it is over.
  bool advance(flight& f);
  void advance_all();
};

void pipeline::waiting_run::start_chunks() {
  while (!problem && flights.size() < owner.options_.depth && owner.has_chunk(next)) {
    slot& s = owner.slot_of(next);
    owner.prepare_slot(s, next);
    problem = owner.submit(s, stage::read);
    flights.push_back({next++, stage::read});
  }
}

void pipeline::waiting_run::wait_for_any() {
  fences.clear();
  for (const flight& f : flights) {
    // A chunk that is compressed, but has to let those before it be written, waits for no fence; nor does one that
    // is written, and has to let those before it be retired.
    dma_fence* const fence = owner.slot_of(f.chunk).fence(f.at).get();
    const std::size_t goes_on = f.at == stage::compress ? next_write : flights.front().chunk;
    const bool held = f.at != stage::read && f.chunk != goes_on && fence->status() != 0;
    if (!held) fences.push_back(fence);
  }
  const std::uint64_t before = wakeups_of(current_task());
  const auto first = dma_fence_wait_any(fences, deadline_after(owner.options_.watchdog));
  const bool on_write = first && *first == 0 && flights.front().at == stage::write;
  if (!on_write) owner.submitter_link_wakes_ += wakeups_of(current_task()) - before;

  if (owner.stop_.load_acquire() != 0) {
    problem = fail("interrupted");
  } else if (!first && first.error() != error::timed_out) {
    problem = fail("cannot wait for the devices: {}", describe_error(first.error()));
  } else if (!first && owner.input_.size() && !owner.output_.is_stream()) {
    problem = owner.explain_overdue(owner.slot_of(flights.front().chunk));
  }
}

bool pipeline::waiting_run::advance(flight& f) {
  slot& s = owner.slot_of(f.chunk);
  while (!problem && s.fence(f.at)->status() != 0) {
    if (f.at == stage::write) {
      if (f.chunk != flights.front().chunk) return false;  // those before it are retired first
      problem = owner.retire(f.chunk);
      return !problem;
    }
    if (s.fence(f.at)->status() < 0) {
      problem = owner.explain(s);
    } else if (f.at == stage::read) {
      problem = owner.submit(s, f.at = stage::compress);
    } else if (f.chunk == next_write) {
      ++next_write;
      problem = owner.submit(s, f.at = stage::write);
    } else {
      break;
    }
  }
  return false;
}

void pipeline::waiting_run::advance_all() {
  while (!problem && !flights.empty() && advance(flights.front())) flights.erase(flights.begin());
  for (std::size_t i = 1; i < flights.size() && !problem; ++i) (void)advance(flights[i]);
}

maybe_failure pipeline::run_waiting() {
  waiting_run run{*this};
  while (!run.is_over()) {
    run.start_chunks();
    if (!run.problem) run.wait_for_any();
    if (!run.problem) run.advance_all();
  }
  if (run.problem && !run.flights.empty()) {
    run.problem->message += settle(run.flights.front().chunk, run.next);
  }
  return std::move(run.problem);
}

}  // namespace interlock::cli
