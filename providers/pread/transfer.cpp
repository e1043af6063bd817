// SPDX-License-Identifier: Apache-2.0

/// File operations with pread and its like, which a cancel can end.
///
/// Invariants: I1. A call that may block for an unknown time is made only when poll said it will
///             not: at a file's own position, on what is neither a regular file nor a block device.
///             I2. Between two calls the job is looked at: a cancel ends it there.
/// Ordering:   [B1] in queue.hpp, [D8] in job_ring.hpp.
/// Contexts:   the device's thread, a task. The thread blocks SIGPIPE, so a broken pipe is an
/// error.

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "queue.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::pread_files {
namespace {

/// So that a cancel need not wait for gigabytes.
constexpr std::size_t chunk_max = std::size_t{16} << 20;

bool is_cancelled(const job_entry& entry) noexcept {
  return entry.cancelled.load_acquire() != 0;  // [D8] pairs with [D7]
}

/// True if reading and writing end by themselves, as on regular files.
bool never_blocks(int fd) noexcept {
  struct stat status;
  if (::fstat(fd, &status) != 0) return true;  // the call itself will say what is wrong
  return S_ISREG(status.st_mode) || S_ISBLK(status.st_mode) || S_ISDIR(status.st_mode);
}

/// Sleeps until `fd` is ready. 0, or -errno.
int wait_ready(blocking_point& at, const job_entry& entry, short events) noexcept {
  pollfd watched[2] = {{entry.work->fd, events, 0}, {at.bell_fd, POLLIN, 0}};
  int outcome = 0;
  at.blocked.store_relaxed(1);
  while (true) {
    smp_mb();  // [B1] pairs with [B2] queue::interrupt
    if (is_cancelled(entry)) {
      outcome = -ECANCELED;
      break;
    }
    const int ready = ::poll(watched, 2, -1);
    if (ready < 0 && errno != EINTR) {
      outcome = -errno;
      break;
    }
    if (ready > 0 && watched[0].revents != 0) break;
    std::uint64_t rings;
    if (ready > 0) [[maybe_unused]]
      const ssize_t taken = ::read(at.bell_fd, &rings, sizeof rings);
  }
  at.blocked.store_relaxed(0);
  return outcome;
}

/// One system call's worth; bytes, 0 at the end of the file, or -errno.
ssize_t transfer_some(const job& work, std::size_t done, std::size_t size) noexcept {
  std::byte* const at = work.buffer + done;
  const bool reads = work.kind == job_kind::read;
  ssize_t moved;
  if (work.offset < 0) {
    moved = reads ? ::read(work.fd, at, size) : ::write(work.fd, at, size);
  } else {
    const off_t offset = work.offset + static_cast<off_t>(done);
    moved = reads ? ::pread(work.fd, at, size, offset) : ::pwrite(work.fd, at, size, offset);
  }
  return moved < 0 ? -errno : moved;
}

std::int64_t read_or_write(blocking_point& at, const job_entry& entry) noexcept {
  const job& work = *entry.work;
  const bool reads = work.kind == job_kind::read;
  bool must_poll = work.offset < 0 && !never_blocks(work.fd);
  // A pipe that is ready takes this much without blocking, not more.
  const std::size_t limit = must_poll && !reads ? PIPE_BUF : chunk_max;
  std::size_t done = 0;
  do {
    if (is_cancelled(entry)) return -ECANCELED;
    if (must_poll) {
      const int code = wait_ready(at, entry, reads ? POLLIN : POLLOUT);
      if (code != 0) return code;
    }
    const ssize_t moved = transfer_some(work, done, std::min(work.length - done, limit));
    if (moved == -EINTR) continue;
    if (moved == -EAGAIN) {
      must_poll = true;
      continue;
    }
    if (moved < 0) return moved;
    if (moved == 0) return reads || work.length == 0 ? static_cast<std::int64_t>(done) : -EIO;
    done += static_cast<std::size_t>(moved);
  } while (done < work.length);
  return static_cast<std::int64_t>(done);
}

}  // namespace

std::int64_t transfer(blocking_point& at, const job_entry& entry) noexcept {
  if (entry.work->kind != job_kind::sync) return read_or_write(at, entry);
  int code;
  do {
    code = ::fdatasync(entry.work->fd) == 0 ? 0 : -errno;
  } while (code == -EINTR);
  return code;
}

}  // namespace interlock::inline INTERLOCK_PLATFORM::pread_files
