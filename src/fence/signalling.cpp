// SPDX-License-Identifier: Apache-2.0

/// Fence signalling sections: code without which a fence would not signal.
///
/// Invariants: I1. `task_words::signalling_depth` is 1 inside the outermost section of a task, else
///                 0. Inner sections, and those in atomic context, leave it alone: an interrupt
///                 that halts a section neither ends it nor counts as a part of it.
/// Contexts:   any; the word belongs to the current task.

#include "interlock/dma_fence.hpp"
#include "report/report_lines.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

bool dma_fence_begin_signalling(location /*where*/) noexcept {
  atomic<std::uint32_t>& depth = platform::this_task().signalling_depth;
  if (in_atomic() || depth.load_relaxed() != 0) return true;
  depth.store_relaxed(1);
  platform::event::signalling_begin();
  return false;
}

void dma_fence_end_signalling(bool cookie) noexcept {
  if (cookie) return;
  atomic<std::uint32_t>& depth = platform::this_task().signalling_depth;
  if (depth.load_relaxed() == 0) {
    report_text text;
    detail::put_warning(text);
    text << "dma_fence_end_signalling\na signalling section was left that was not entered\n";
    submit_report(report_kind::fence_misuse, text);
    return;
  }
  platform::event::signalling_end();
  depth.store_relaxed(0);
}

bool dma_fence_in_signalling() noexcept {
  return in_task() && platform::this_task().signalling_depth.load_relaxed() != 0;
}

void dma_fence_might_allocate(location where) noexcept {
  if (!dma_fence_in_signalling()) [[likely]]
    return;
  report_text text;
  detail::put_warning(text);
  text << where << "\nallocation inside a fence signalling section: the allocator may wait for the "
       << "fence that this section has to signal\n";
  submit_report(report_kind::fence_misuse, text);
}

}  // namespace interlock::inline INTERLOCK_PLATFORM
