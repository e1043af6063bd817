// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Providers: where queues come from. One per kind of device; found by name; probed before use.

#include <memory>
#include <span>

#include "interlock/device/device_queue.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

/// What a provider's queues can do. Bits.
enum class device_feature : std::uint32_t {
  none = 0,
  memory_wait = 1u << 0,      ///< waits on seqnos in memory by itself
  compute = 1u << 1,          ///< job_kind::execute
  file_io = 1u << 2,          ///< job_kind::read, write, sync
  timer = 1u << 3,            ///< job_kind::timeout
  fault_injection = 1u << 4,  ///< device_queue::inject
  out_of_order = 1u << 5,     ///< works on several jobs at once (completes them in order still)
};
[[nodiscard]] constexpr device_feature operator|(device_feature a, device_feature b) noexcept {
  return static_cast<device_feature>(static_cast<std::uint32_t>(a) | static_cast<std::uint32_t>(b));
}
/// Context: any.
[[nodiscard]] constexpr bool has(device_feature set, device_feature bit) noexcept {
  return (static_cast<std::uint32_t>(set) & static_cast<std::uint32_t>(bit)) != 0;
}

/// The outcome of a probe: unavailable (skip it) is not an error (tell somebody).
struct provider_probe {
  bool available = false;
  error reason{};         ///< if not available: why, as errno
  char detail[160] = {};  ///< one line for people: what is there, or what is missing and why
};

struct provider {
  const char* name;
  const char* description;
  device_feature features;
  provider_probe (*probe)() noexcept;
  /// Errors: those of the probe, not_enough_memory, too_many_files_open,
  ///         resource_unavailable_try_again (no thread). Context: task, may sleep.
  result<std::unique_ptr<device_queue>> (*open)(const device_queue_options& options) noexcept;
};

/// A software device: a ring served by a thread; computes, waits and writes seqnos in memory.
/// Context: any.
[[nodiscard]] INTERLOCK_API const provider& engine_provider() noexcept;
/// File and timer operations through io_uring.
/// Context: any.
[[nodiscard]] INTERLOCK_API const provider& uring_provider() noexcept;
/// The same face with a thread and pread/pwrite: where io_uring is forbidden.
/// Context: any.
[[nodiscard]] INTERLOCK_API const provider& pread_provider() noexcept;

}  // namespace interlock::inline INTERLOCK_PLATFORM
