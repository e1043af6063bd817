// SPDX-License-Identifier: Apache-2.0

/// The io_uring device: its thread, from jobs to operations and back.
///
/// Invariants: I1 to I4 of queue.hpp.
/// Ordering:   the job ring's [D1] to [D8]. The bell keeps what was rung before the thread sleeps,
///             so a ring between its last look and its sleep is not lost.
/// Contexts:   task.

#include "queue.hpp"

#include <algorithm>
#include <cerrno>
#include <new>

namespace interlock::inline INTERLOCK_PLATFORM::uring {

result<std::unique_ptr<device_queue>> queue::open(const device_queue_options& options) noexcept {
  std::unique_ptr<queue> made{new (std::nothrow) queue};
  if (!made) return error::not_enough_memory;
  INTERLOCK_TRY(made->kernel_.make_bell());
  job_ring_ops ops{"uring", 0, true, nullptr};
  for (const job_kind kind :
       {job_kind::read, job_kind::write, job_kind::sync, job_kind::timeout, job_kind::nop}) {
    ops.kinds |= kind_bit(kind);
  }
  ops.wake = [](void* device) { static_cast<queue*>(device)->kernel_.ring_bell(); };
  auto ring = make_job_ring(ops, made.get(), options);
  if (!ring) return ring.error();
  made->ring_ = *ring;
  INTERLOCK_TRY(made->start_thread(options));
  return std::unique_ptr<device_queue>{std::move(made)};
}

result<void> queue::start_thread(const device_queue_options& options) noexcept {
  wanted_ = features_without(options.without);
  const char* const name = options.name != nullptr ? options.name : "uring";
  auto thread = kthread_run(name, [this] { return serve(); });
  if (!thread) return thread.error();
  thread_ = std::move(*thread);
  started_.wait();
  return std::move(start_outcome_);
}

queue::~queue() {
  if (ring_ == nullptr) return;
  job_ring_close(*ring_);
  if (thread_.joinable()) (void)thread_.join();
  destroy_job_ring(ring_);
}

/// The ring is made by the thread that uses it: some setups demand that.
int queue::serve() noexcept {
  // An operation has one submission and one cancel between two waits; one more for the bell.
  start_outcome_ = kernel_.setup(2 * operations_max + 1, wanted_);
  const bool usable = start_outcome_.has_value();
  started_.complete();
  if (!usable) return -1;
  while (true) {
    reap();
    const job_ring_sleep what = start_jobs();
    if (job_ring_closed(*ring_)) break;
    if (job_ring_prepare_sleep(*ring_, what)) {
      job_ring_finish_sleep(*ring_, kernel_.wait(job_ring_look_before(*ring_)));
    } else {
      kernel_.submit();
    }
  }
  return 0;
}

void queue::reap() noexcept {
  std::uint64_t tag;
  int outcome;
  while (kernel_.take(tag, outcome)) {
    operation& op = operations_[tag - kernel_ring::first_tag];
    const next_step step = digest(op, outcome);
    if (step.again) {
      submit_operation(op);
    } else {
      end(op, step.outcome);
    }
  }
  if (kernel_.rang()) cancel_marked();
}

/// Ends what was cancelled, and asks the kernel for what it has of that.
void queue::cancel_marked() noexcept {
  for (operation& op : operations_) {
    if (op.state == operation::phase::idle || op.cancel_sent) continue;
    if (op.entry->cancelled.load_acquire() == 0) continue;  // [D8] pairs with [D7]
    if (!op.in_kernel()) {
      if (&op == held_) held_ = nullptr;
      end(op, -ECANCELED);
      continue;
    }
    op.cancel_sent = true;
    const auto index = static_cast<std::uint64_t>(&op - operations_);
    io_uring_sqe& sqe = kernel_.next_submission();
    io_uring_prep_cancel64(&sqe, kernel_ring::first_tag + index, 0);
    io_uring_sqe_set_data64(&sqe, kernel_ring::ignored_tag);
  }
}

/// Starts what can start; what the thread waits for then beside completions.
job_ring_sleep queue::start_jobs() noexcept {
  if (held_ != nullptr) {
    if (!may_begin(*held_)) return job_ring_sleep::awake;
    begin(*std::exchange(held_, nullptr));
  }
  while (job_entry* const entry = job_ring_next(*ring_)) {
    operation* const op = idle_operation();
    if (op == nullptr) return job_ring_sleep::awake;
    int code = 0;
    const job_links links = job_ring_poll(*ring_, *entry, kernel_.bell_fd(), &code);
    if (links == job_links::pending) return job_ring_sleep::for_link;
    if (links == job_links::over) code = job_ring_start(*ring_, *entry);
    if (code != 0) {
      job_ring_finish(*ring_, *entry, code);
      continue;
    }
    op->entry = entry;
    op->state = operation::phase::held;
    ++busy_;
    if (!may_begin(*op)) {
      held_ = op;
      return job_ring_sleep::awake;
    }
    begin(*op);
  }
  return job_ring_sleep::for_work;
}

operation* queue::idle_operation() noexcept {
  if (busy_ == operations_max) return nullptr;
  for (operation& op : operations_) {
    if (op.state == operation::phase::idle) return &op;
  }
  return nullptr;
}

/// I3.
bool queue::may_begin(const operation& op) const noexcept {
  if (op.entry->work->kind == job_kind::sync) return busy_ == 1;
  if (!op.is_stream()) return true;
  return std::none_of(std::begin(operations_), std::end(operations_), [&](const operation& other) {
    return &other != &op && other.state != operation::phase::idle && other.is_stream();
  });
}

void queue::begin(operation& op) noexcept {
  if (op.entry->cancelled.load_acquire() != 0) return end(op, -ECANCELED);  // [D8] pairs with [D7]
  if (const int code = check_target(op); code != 0) return end(op, code);
  op.state = operation::phase::working;
  const device_fault::action fault = op.entry->fault.what;
  if (fault == device_fault::action::hang) {
    op.state = operation::phase::hung;
    return;
  }
  if (fault == device_fault::action::stall) op.state = operation::phase::stalled;
  submit_operation(op);
}

void queue::submit_operation(operation& op) noexcept {
  io_uring_sqe& sqe = kernel_.next_submission();
  prepare_submission(op, sqe);
  io_uring_sqe_set_data64(&sqe,
                          kernel_ring::first_tag + static_cast<std::uint64_t>(&op - operations_));
}

void queue::end(operation& op, std::int64_t outcome) noexcept {
  job_entry& entry = *op.entry;
  op = {};
  --busy_;
  job_ring_finish(*ring_, entry, outcome);
}

}  // namespace interlock::inline INTERLOCK_PLATFORM::uring
