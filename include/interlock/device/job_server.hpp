// SPDX-License-Identifier: Apache-2.0
#pragma once

/// A job ring with a thread that does one job after another: all that a simple device needs. It
/// supplies one function, `perform`; waits, faults, cancelling and completion are done here.

#include "interlock/device/job_ring.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

struct job_server_ops {
  const char* driver_name;  ///< copied; also names the thread
  job_kinds kinds;
  bool faults;
  /// Does the work, on the device's thread: bytes, or -errno. job_kind::nop and timeout do not come
  /// here. What blocks MUST end in bounded time once `entry.cancelled` is set (`job_server_sleep`,
  /// or `interrupt`).
  std::int64_t (*perform)(void* device, job_entry& entry);
  /// Optional. `entry.cancelled` was set while `perform` may block: make it look. Task context.
  void (*interrupt)(void* device);
};

/// Opaque.
struct job_server;

/// Errors: as make_job_ring, resource_unavailable_try_again (no thread). Context: task, may sleep.
[[nodiscard]] INTERLOCK_API result<job_server*> make_job_server(
    const job_server_ops& ops, void* device, const device_queue_options& options) noexcept;
/// Cancels what is queued, waits for what runs, ends the thread, frees. In a child of fork it only
/// frees. Context: task, may sleep.
INTERLOCK_API void destroy_job_server(job_server* server) noexcept;
/// Context: any.
[[nodiscard]] INTERLOCK_API job_ring& job_server_ring(job_server& server) noexcept;

/// For `perform`: sleeps until `until`; false at once if the job is cancelled.
/// Context: task, the device's, may sleep.
[[nodiscard]] INTERLOCK_API bool job_server_sleep(job_server& server, const job_entry& entry,
                                                  deadline until) noexcept;

}  // namespace interlock::inline INTERLOCK_PLATFORM
