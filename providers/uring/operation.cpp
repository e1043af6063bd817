// SPDX-License-Identifier: Apache-2.0

/// Submissions and completions of single operations: short transfers go on, EINTR and EAGAIN too.
///
/// Contexts: the device's thread, a task. The thread blocks SIGPIPE, so a broken pipe is an error.

#include "operation.hpp"

#include <sys/poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace interlock::inline INTERLOCK_PLATFORM::uring {
namespace {

/// The kernel's lengths are 32 bits wide, its transfers a little shorter.
constexpr std::size_t chunk_max = std::size_t{1} << 30;
constexpr std::uint64_t own_position = ~std::uint64_t{0};

void prepare_transfer(const operation& op, io_uring_sqe& sqe) noexcept {
  const job& work = *op.entry->work;
  const auto size = static_cast<unsigned>(std::min(work.length - op.done, chunk_max));
  const std::uint64_t offset =
      work.offset < 0 ? own_position : static_cast<std::uint64_t>(work.offset) + op.done;
  if (work.kind == job_kind::read) {
    io_uring_prep_read(&sqe, work.fd, work.buffer + op.done, size, offset);
  } else {
    io_uring_prep_write(&sqe, work.fd, work.buffer + op.done, size, offset);
  }
}

void prepare_timeout(operation& op, io_uring_sqe& sqe, ktime delay) noexcept {
  const auto nanoseconds = std::max(delay, ktime::zero()).count();
  op.timeout = {nanoseconds / 1'000'000'000, nanoseconds % 1'000'000'000};
  io_uring_prep_timeout(&sqe, &op.timeout, 0, 0);
}

next_step digest_transfer(operation& op, int completion) noexcept {
  const job& work = *op.entry->work;
  op.done += static_cast<std::size_t>(completion);
  if (op.done >= work.length) return {false, static_cast<std::int64_t>(op.done)};
  if (completion != 0) return {true, 0};
  // The end of the file; a write of nothing makes no progress, ever.
  return {false, work.kind == job_kind::read ? static_cast<std::int64_t>(op.done) : -EIO};
}

}  // namespace

bool operation::is_stream() const noexcept {
  const job_kind kind = entry->work->kind;
  return (kind == job_kind::read || kind == job_kind::write) && entry->work->offset < 0;
}

int check_target(const operation& op) noexcept {
  const job& work = *op.entry->work;
  const bool transfers = work.kind == job_kind::read || work.kind == job_kind::write;
  if (!transfers || op.is_stream()) return 0;
  return ::lseek(work.fd, 0, SEEK_CUR) < 0 && errno == ESPIPE ? -ESPIPE : 0;
}

void prepare_submission(operation& op, io_uring_sqe& sqe) noexcept {
  const job& work = *op.entry->work;
  if (op.state == operation::phase::stalled) {
    return prepare_timeout(op, sqe, op.entry->fault.stall_time);
  }
  if (op.state == operation::phase::polled) {
    return io_uring_prep_poll_add(&sqe, work.fd, work.kind == job_kind::read ? POLLIN : POLLOUT);
  }
  switch (work.kind) {
    case job_kind::sync: return io_uring_prep_fsync(&sqe, work.fd, IORING_FSYNC_DATASYNC);
    case job_kind::timeout: return prepare_timeout(op, sqe, work.delay);
    case job_kind::read:
    case job_kind::write: return prepare_transfer(op, sqe);
    case job_kind::nop:
    case job_kind::execute: return io_uring_prep_nop(&sqe);
  }
}

next_step digest(operation& op, int completion) noexcept {
  const job& work = *op.entry->work;
  if (op.entry->cancelled.load_acquire() != 0) return {false, -ECANCELED};  // [D8] pairs with [D7]
  const bool timed = op.state == operation::phase::stalled || work.kind == job_kind::timeout;
  if (timed && completion == -ETIME) completion = 0;
  const bool transfers = work.kind == job_kind::read || work.kind == job_kind::write;
  if (completion == -EINTR) return {true, 0};
  if (completion == -EAGAIN && transfers && op.state == operation::phase::working) {
    op.state = operation::phase::polled;
    return {true, 0};
  }
  if (completion < 0) return {false, completion};
  if (op.state != operation::phase::working) {
    op.state = operation::phase::working;
    return {true, 0};
  }
  return transfers ? digest_transfer(op, completion) : next_step{false, 0};
}

}  // namespace interlock::inline INTERLOCK_PLATFORM::uring
