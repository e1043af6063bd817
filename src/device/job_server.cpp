// SPDX-License-Identifier: Apache-2.0

/// A job ring with one thread that does one job after another.
///
/// Invariants: I1. The thread is the only caller of the ring's device side. I2. It sleeps in one of
///             four places: for work, for a link (job_links.cpp), in `job_server_sleep`, in
///             `perform`.
/// Ordering:   a sleep announces its state, then looks ([W1] of task.hpp); `wake` comes after what
///             it tells of was written, and passes a full barrier ([W2]).
/// Contexts:   task.

#include "interlock/device/job_server.hpp"

#include <cstdlib>
#include <new>

#include "device/job_ring_impl.hpp"
#include "interlock/kthread.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

struct job_server {
  job_server_ops ops{};
  void* device = nullptr;
  job_ring* ring = nullptr;
  kthread thread;  ///< set before the queue has an owner, so before anybody can wake it
};

namespace {

void wake(void* cookie) {
  auto& server = *static_cast<job_server*>(cookie);
  (void)wake_up_process(server.thread.get());
  if (server.ops.interrupt != nullptr) server.ops.interrupt(server.device);
}

/// Sleeps until there is a job; false once the ring is closed and empty.
bool wait_for_work(job_ring& ring) noexcept {
  task& self = current_task();
  while (true) {
    if (job_ring_next(ring) != nullptr) return true;
    if (job_ring_closed(ring)) return false;
    set_current_state(task_interruptible);
    if (job_ring_prepare_sleep(ring, job_ring_sleep::for_work)) {
      const std::uint64_t before = wakeups_of(self);
      schedule();
      job_ring_finish_sleep(ring, wakeups_of(self) - before);
    }
    set_current_state_raw(task_running);
  }
}

/// What the job itself does, faults included.
std::int64_t work_on(job_server& server, job_entry& entry) noexcept {
  const job& work = *entry.work;
  if (entry.fault.what == device_fault::action::hang) {
    (void)job_server_sleep(server, entry, no_deadline);
    return to_negative_errno(error::operation_canceled);
  }
  if (entry.fault.what == device_fault::action::stall) {
    (void)job_server_sleep(server, entry, deadline_after(entry.fault.stall_time));
  }
  if (entry.cancelled.load_acquire() != 0)
    return to_negative_errno(error::operation_canceled);  // [D8]
  if (work.kind == job_kind::nop) return 0;
  if (work.kind == job_kind::timeout) {
    (void)job_server_sleep(server, entry, deadline_after(work.delay));
    return 0;
  }
  return server.ops.perform(server.device, entry);
}

int serve(void* cookie) {
  auto& server = *static_cast<job_server*>(cookie);
  job_ring& ring = *server.ring;
  while (wait_for_work(ring)) {
    job_entry& entry = *job_ring_next(ring);
    std::int64_t outcome = job_ring_wait(ring, entry);
    if (outcome == 0) outcome = job_ring_start(ring, entry);
    if (outcome == 0) outcome = work_on(server, entry);
    job_ring_finish(ring, entry, outcome);
  }
  return 0;
}

}  // namespace

result<job_server*> make_job_server(const job_server_ops& ops, void* device,
                                    const device_queue_options& options) noexcept {
  might_sleep();
  void* const memory = std::malloc(sizeof(job_server));
  if (memory == nullptr) return error::not_enough_memory;
  auto* const server = new (memory) job_server;
  server->ops = ops;
  server->device = device;
  const job_ring_ops ring_ops{ops.driver_name,
                              ops.kinds | kind_bit(job_kind::nop) | kind_bit(job_kind::timeout),
                              ops.faults, &wake};
  auto ring = make_job_ring(ring_ops, server, options);
  if (!ring) {
    std::free(server);
    return ring.error();
  }
  server->ring = *ring;
  auto thread = kthread_run_raw(server->ring->options.name, &serve, server, nullptr);
  if (!thread) {
    destroy_job_ring(server->ring);
    std::free(server);
    return thread.error();
  }
  server->thread = std::move(*thread);
  return server;
}

void destroy_job_server(job_server* server) noexcept {
  job_ring_close(*server->ring);
  (void)server->thread.join();
  destroy_job_ring(server->ring);
  server->~job_server();
  std::free(server);
}

job_ring& job_server_ring(job_server& server) noexcept { return *server.ring; }

bool job_server_sleep(job_server& server, const job_entry& entry, deadline until) noexcept {
  (void)server;
  might_sleep();
  bool in_time = true;
  while (in_time) {
    set_current_state(task_interruptible);
    if (entry.cancelled.load_acquire() != 0) break;  // [D8] pairs with [D7]
    in_time = schedule_until(until);
  }
  set_current_state_raw(task_running);
  return !in_time;
}

}  // namespace interlock::inline INTERLOCK_PLATFORM
