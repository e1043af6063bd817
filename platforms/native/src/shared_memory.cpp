// SPDX-License-Identifier: Apache-2.0

/// Shared memory by memfd, of sealed size.
///
/// Invariant: I1. A mapping made here is backed for its whole size as long as it lives: a seal
///                against shrinking can never be taken off again. Without it, a peer that truncates
///                the file would turn our next access into SIGBUS.

#include "interlock_platform/shared_memory.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>

#include "interlock_platform/poller.hpp"
#include "native.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::platform {
namespace {

constexpr unsigned no_exec_seal = 0x0008u;  // MFD_NOEXEC_SEAL, newer than our headers may be

int create_memfd(const char* name) noexcept {
  char short_name[64] = {};  // memfd_create refuses long ones
  std::strncpy(short_name, name, sizeof(short_name) - 1);
  // Since Linux 6.3 the system may insist on memory that is never executable.
  const int fd = memfd_create(short_name, MFD_CLOEXEC | MFD_ALLOW_SEALING | no_exec_seal);
  if (fd >= 0 || errno != EINVAL) return fd;
  return memfd_create(short_name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
}

/// Maps and takes ownership of `fd`, which is closed on failure.
result<shared_mapping> map_owned(int fd, std::size_t size) noexcept {
  const int flags = fd >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;
  void* const address = mmap(nullptr, size, PROT_READ | PROT_WRITE, flags, fd, 0);
  if (address != MAP_FAILED) return shared_mapping{address, size, fd};
  const error e = last_error();
  if (fd >= 0) close_fd(fd);
  return e;
}

}  // namespace

result<shared_mapping> map_memory(std::size_t size, bool shareable, const char* name) noexcept {
  if (size == 0) return error::invalid_argument;
  if (size > PTRDIFF_MAX) return error::not_enough_memory;
  if (!shareable) return map_owned(-1, size);
  const int fd = create_memfd(name);
  if (fd < 0) return last_error();
  if (ftruncate(fd, static_cast<off_t>(size)) != 0 ||
      fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    const error e = last_error();
    close_fd(fd);
    return e;
  }
  return map_owned(fd, size);
}

result<shared_mapping> map_memory_fd(int fd, std::size_t size) noexcept {
  if (size == 0 || size > PTRDIFF_MAX) return error::invalid_argument;
  const int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  // With an argument of 0, EINVAL says that not even descriptor 0 is within the limit.
  if (own < 0) return errno == EINVAL ? error::too_many_files_open : last_error();
  // Sealed first, measured second: then the size cannot have shrunk in between.
  const int seals = fcntl(own, F_GET_SEALS);
  struct stat status;
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0 || fstat(own, &status) != 0 ||
      status.st_size < static_cast<off_t>(size)) {
    close_fd(own);
    return error::invalid_argument;
  }
  return map_owned(own, size);
}

void unmap_memory(shared_mapping& mapping) noexcept {
  const errno_keeper keeper;
  if (mapping.address != nullptr) munmap(mapping.address, mapping.size);
  if (mapping.fd >= 0) close_fd(mapping.fd);
  mapping = {};
}

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform
