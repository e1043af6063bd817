// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Operating errors: an enumeration whose values are errno and whose names are `std::errc`'s.
///
/// Broken contracts are not errors; they are reported (see report.hpp).
/// Context: any.

#include <cerrno>
#include <system_error>

#include "interlock/annotate.hpp"

namespace interlock {

/// Converts to `std::error_code` of the generic category. Its value is errno: `error{errno}`.
/// C edges speak `0` or `-errno`: see `to_negative_errno()` and `from_negative_errno()`.
enum class error : int {
  operation_not_permitted = EPERM,
  no_such_file_or_directory = ENOENT,
  no_such_process = ESRCH,
  interrupted = EINTR,
  io_error = EIO,
  argument_list_too_long = E2BIG,
  bad_file_descriptor = EBADF,
  resource_unavailable_try_again = EAGAIN,
  not_enough_memory = ENOMEM,
  permission_denied = EACCES,
  bad_address = EFAULT,
  device_or_resource_busy = EBUSY,
  file_exists = EEXIST,
  no_such_device = ENODEV,
  is_a_directory = EISDIR,
  invalid_argument = EINVAL,
  too_many_files_open = EMFILE,
  too_many_files_open_in_system = ENFILE,
  file_too_large = EFBIG,
  no_space_on_device = ENOSPC,
  invalid_seek = ESPIPE,
  broken_pipe = EPIPE,
  result_out_of_range = ERANGE,
  resource_deadlock_would_occur = EDEADLK,
  function_not_supported = ENOSYS,
  operation_canceled = ECANCELED,
  value_too_large = EOVERFLOW,
  bad_message = EBADMSG,
  operation_not_supported = EOPNOTSUPP,
  timed_out = ETIMEDOUT,
  stream_timeout = ETIME,
  connection_already_in_progress = EALREADY,
  owner_dead = EOWNERDEAD,
};

/// The C edge: -EIO for `io_error`, as kernel ops tables speak it.
[[nodiscard]] constexpr int to_negative_errno(error e) noexcept { return -static_cast<int>(e); }

/// From a C edge: `negative_errno` must be in -4095..-1. Of errno itself: `error{errno}`.
[[nodiscard]] constexpr error from_negative_errno(int negative_errno) noexcept {
  return static_cast<error>(-negative_errno);
}

inline std::error_code make_error_code(error e) noexcept {
  return {static_cast<int>(e), std::generic_category()};
}

/// The errno name ("ENOSPC"), or "unknown".
/// Context: any. Lifetime: static storage.
[[nodiscard]] INTERLOCK_API const char* error_name(error e) noexcept;

}  // namespace interlock

template <>
struct std::is_error_code_enum<interlock::error> : std::true_type {};
