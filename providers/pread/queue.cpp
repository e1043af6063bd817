// SPDX-License-Identifier: Apache-2.0

/// The thread-based file device: making and ending a queue, and calling its thread out of the
/// system.
///
/// Invariants: of interlock/device/job_server.hpp. The bell lives longer than the thread.
/// Ordering:   [B1], [B2] in queue.hpp.
/// Contexts:   task.

#include "queue.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <new>

namespace interlock::inline INTERLOCK_PLATFORM::pread_files {

std::int64_t queue::perform(void* device, job_entry& entry) {
  return transfer(static_cast<queue*>(device)->point_, entry);
}

void queue::interrupt(void* device) {
  blocking_point& point = static_cast<queue*>(device)->point_;
  smp_mb();  // [B2] pairs with [B1] wait_ready
  if (point.blocked.load_relaxed() == 0) return;
  const std::uint64_t one = 1;
  // Can fail only by a full counter, which is a bell that rings.
  [[maybe_unused]] const ssize_t written = ::write(point.bell_fd, &one, sizeof one);
}

result<std::unique_ptr<device_queue>> queue::open(const device_queue_options& options) noexcept {
  std::unique_ptr<queue> made{new (std::nothrow) queue};
  if (!made) return error::not_enough_memory;
  made->point_.bell_fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (made->point_.bell_fd < 0) return from_negative_errno(-errno);
  const job_kinds kinds =
      kind_bit(job_kind::read) | kind_bit(job_kind::write) | kind_bit(job_kind::sync);
  const job_server_ops ops{"pread", kinds, true, &perform, &interrupt};
  auto server = make_job_server(ops, made.get(), options);
  if (!server) return server.error();
  made->server_ = *server;
  made->ring_ = &job_server_ring(**server);
  return std::unique_ptr<device_queue>{std::move(made)};
}

queue::~queue() {
  if (server_ != nullptr) destroy_job_server(server_);
  if (point_.bell_fd >= 0) ::close(point_.bell_fd);
}

}  // namespace interlock::inline INTERLOCK_PLATFORM::pread_files
