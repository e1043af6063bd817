// SPDX-License-Identifier: Apache-2.0

/// The uring provider: what this kernel offers, and why it does not where it does not.
///
/// Contexts: task.

#include "interlock/device/provider.hpp"

#include <sys/utsname.h>

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <memory>

#include "queue.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {
namespace {

constexpr unsigned needed_operations[] = {IORING_OP_READ,    IORING_OP_WRITE,
                                          IORING_OP_FSYNC,   IORING_OP_POLL_ADD,
                                          IORING_OP_TIMEOUT, IORING_OP_ASYNC_CANCEL};

[[gnu::format(printf, 2, 3)]] void tell(provider_probe& found, const char* format, ...) noexcept {
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(found.detail, sizeof found.detail, format, arguments);
  va_end(arguments);
}

/// kernel.io_uring_disabled: 0 allowed, 1 for a group, 2 for nobody; -1 where there is no such
/// file.
int disabled_by_sysctl() noexcept {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file{
      std::fopen("/proc/sys/kernel/io_uring_disabled", "re"), &std::fclose};
  int value = -1;
  if (!file || std::fscanf(file.get(), "%d", &value) != 1) return -1;
  return value;
}

provider_probe refuse(int code) noexcept {
  provider_probe found;
  found.reason = from_negative_errno(code);
  const int sysctl = disabled_by_sysctl();
  if (code == -EPERM && sysctl > 0) {
    tell(found, "io_uring is forbidden: kernel.io_uring_disabled=%d", sysctl);
  } else if (code == -EPERM || code == -EACCES) {
    tell(found, "io_uring is forbidden, by a seccomp filter (a container?) or a security module");
  } else if (code == -ENOSYS) {
    tell(found,
         "io_uring is not there: a kernel before 5.1, or one that was built without it, or "
         "a seccomp filter");
  } else if (code == -ENOMEM) {
    tell(found, "io_uring cannot get memory: see RLIMIT_MEMLOCK (ulimit -l)");
  } else {
    tell(found, "io_uring_setup failed: %s", error_name(found.reason));
  }
  return found;
}

provider_probe look_at(io_uring& ring) noexcept {
  provider_probe found;
  const std::unique_ptr<io_uring_probe, void (*)(io_uring_probe*)> operations{
      io_uring_get_probe_ring(&ring), &io_uring_free_probe};
  for (const unsigned operation : needed_operations) {
    if (operations && io_uring_opcode_supported(operations.get(), static_cast<int>(operation))) {
      continue;
    }
    found.reason = error::function_not_supported;
    tell(found, "this kernel's io_uring lacks operation %u (it is older than 5.6)", operation);
    return found;
  }
  utsname system{};
  (void)::uname(&system);
  io_uring deferring{};
  const bool taskrun =
      io_uring_queue_init(2, &deferring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN) ==
      0;
  if (taskrun) io_uring_queue_exit(&deferring);
  found.available = true;
  tell(found, "io_uring of kernel %.60s, %s", system.release,
       taskrun ? "completions when waited for (DEFER_TASKRUN)" : "without DEFER_TASKRUN");
  return found;
}

provider_probe probe() noexcept {
  io_uring ring{};
  const int code = io_uring_queue_init(2, &ring, 0);
  if (code != 0) return refuse(code);
  const provider_probe found = look_at(ring);
  io_uring_queue_exit(&ring);
  return found;
}

}  // namespace

const provider& uring_provider() noexcept {
  static constexpr provider uring{"uring", "file operations through io_uring",
                                  device_feature::memory_wait | device_feature::file_io |
                                      device_feature::timer | device_feature::fault_injection |
                                      device_feature::out_of_order,
                                  &probe, &uring::queue::open};
  return uring;
}

}  // namespace interlock::inline INTERLOCK_PLATFORM
