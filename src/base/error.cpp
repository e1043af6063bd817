// SPDX-License-Identifier: Apache-2.0
#include "interlock/error.hpp"

namespace interlock {

const char* error_name(error e) noexcept {
  switch (e) {
    case error::operation_not_permitted: return "EPERM";
    case error::no_such_file_or_directory: return "ENOENT";
    case error::no_such_process: return "ESRCH";
    case error::interrupted: return "EINTR";
    case error::io_error: return "EIO";
    case error::argument_list_too_long: return "E2BIG";
    case error::bad_file_descriptor: return "EBADF";
    case error::resource_unavailable_try_again: return "EAGAIN";
    case error::not_enough_memory: return "ENOMEM";
    case error::permission_denied: return "EACCES";
    case error::bad_address: return "EFAULT";
    case error::device_or_resource_busy: return "EBUSY";
    case error::file_exists: return "EEXIST";
    case error::no_such_device: return "ENODEV";
    case error::is_a_directory: return "EISDIR";
    case error::invalid_argument: return "EINVAL";
    case error::too_many_files_open: return "EMFILE";
    case error::too_many_files_open_in_system: return "ENFILE";
    case error::file_too_large: return "EFBIG";
    case error::no_space_on_device: return "ENOSPC";
    case error::invalid_seek: return "ESPIPE";
    case error::broken_pipe: return "EPIPE";
    case error::result_out_of_range: return "ERANGE";
    case error::resource_deadlock_would_occur: return "EDEADLK";
    case error::function_not_supported: return "ENOSYS";
    case error::operation_canceled: return "ECANCELED";
    case error::value_too_large: return "EOVERFLOW";
    case error::bad_message: return "EBADMSG";
    case error::operation_not_supported: return "EOPNOTSUPP";
    case error::timed_out: return "ETIMEDOUT";
    case error::stream_timeout: return "ETIME";
    case error::connection_already_in_progress: return "EALREADY";
    case error::owner_dead: return "EOWNERDEAD";
  }
  return "unknown";
}

}  // namespace interlock
