// SPDX-License-Identifier: Apache-2.0

/// The software device: its work is a function of the job.
///
/// Invariants: of interlock/device/job_server.hpp; the device adds none.
/// Contexts:   task; `execute` runs on the device's thread.

#include "queue.hpp"

#include <new>

namespace interlock::inline INTERLOCK_PLATFORM::engine {
namespace {

std::int64_t perform(void*, job_entry& entry) { return entry.work->execute(*entry.work); }

}  // namespace

result<std::unique_ptr<device_queue>> queue::open(const device_queue_options& options) noexcept {
  std::unique_ptr<queue> made{new (std::nothrow) queue};
  if (!made) return error::not_enough_memory;
  const job_server_ops ops{"engine", kind_bit(job_kind::execute), true, &perform, nullptr};
  auto server = make_job_server(ops, made.get(), options);
  if (!server) return server.error();
  made->server_ = *server;
  made->ring_ = &job_server_ring(**server);
  return std::unique_ptr<device_queue>{std::move(made)};
}

queue::~queue() {
  if (server_ != nullptr) destroy_job_server(server_);
}

}  // namespace interlock::inline INTERLOCK_PLATFORM::engine
