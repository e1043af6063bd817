// SPDX-License-Identifier: Apache-2.0

/// Setup with fallbacks, waiting, and the bell.
///
/// The bell is an event descriptor under a poll of the ring: one system call of any thread rings
/// it, and whatever was rung before the poll is armed again is still there then. (io_uring's futex
/// wait can miss wakes, so it is not used.) Invariants and contexts: see the header.

#include "kernel_ring.hpp"

#include <sys/eventfd.h>
#include <sys/poll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <string_view>

#include "interlock/task.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::uring {
namespace {

/// The voluntary context switches of this thread: each is one sleep.
std::uint64_t sleeps_so_far() noexcept {
  rusage usage{};
  ::getrusage(RUSAGE_THREAD, &usage);
  return static_cast<std::uint64_t>(usage.ru_nvcsw);
}

bool names(const char* words, std::string_view wanted) noexcept {
  std::string_view rest{words != nullptr ? words : ""};
  while (!rest.empty()) {
    const std::size_t end = rest.find(',');
    if (rest.substr(0, end) == wanted) return true;
    rest.remove_prefix(end == rest.npos ? rest.size() : end + 1);
  }
  return false;
}

}  // namespace

ring_features features_without(const char* without) noexcept {
  ring_features features;
  features.multishot = !names(without, "multishot");
  features.taskrun = !names(without, "taskrun");
  return features;
}

kernel_ring::~kernel_ring() {
  if (open_) io_uring_queue_exit(&ring_);
  if (bell_fd_ >= 0) ::close(bell_fd_);
}

result<void> kernel_ring::make_bell() noexcept {
  bell_fd_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (bell_fd_ < 0) return from_negative_errno(-errno);
  return {};
}

result<void> kernel_ring::setup(unsigned entries, ring_features wanted) noexcept {
  features_ = wanted;
  const unsigned setups[] = {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
                             IORING_SETUP_COOP_TASKRUN, 0};
  int code = -EINVAL;
  for (std::size_t i = wanted.taskrun ? 0 : std::size(setups) - 1; i < std::size(setups); ++i) {
    code = io_uring_queue_init(entries, &ring_, setups[i]);
    features_.taskrun = i == 0;
    if (code != -EINVAL) break;
  }
  if (code != 0) return from_negative_errno(code);
  open_ = true;
  arm_bell();
  return {};
}

io_uring_sqe& kernel_ring::next_submission() noexcept {
  io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
  while (sqe == nullptr) {  // only if the kernel took none of those before: it is out of memory
    submit();
    sqe = io_uring_get_sqe(&ring_);
  }
  return *sqe;
}

void kernel_ring::submit() noexcept { back_off(io_uring_submit(&ring_)); }

int kernel_ring::submit_and_sleep(deadline until) noexcept {
  if (until == no_deadline) return io_uring_submit_and_wait(&ring_, 1);
  const auto left = std::max(until - monotonic_clock::now(), ktime::zero()).count();
  __kernel_timespec timeout{left / 1'000'000'000, left % 1'000'000'000};
  io_uring_cqe* completion = nullptr;
  const int code = io_uring_submit_and_wait_timeout(&ring_, &completion, 1, &timeout, nullptr);
  return code == -ETIME ? 0 : code;
}

std::uint64_t kernel_ring::wait(deadline until) noexcept {
  const std::uint64_t before = sleeps_so_far();
  const int code = submit_and_sleep(until);
  const std::uint64_t slept = sleeps_so_far() - before;
  back_off(code);
  return slept;
}

/// EAGAIN, EBUSY, ENOMEM: completions have to be taken, or memory freed by others, first.
void kernel_ring::back_off(int code) noexcept {
  if (code >= 0 || code == -EINTR || io_uring_cq_ready(&ring_) != 0) return;
  sleep_for(std::chrono::milliseconds{1});
}

bool kernel_ring::take(std::uint64_t& tag, int& outcome) noexcept {
  io_uring_cqe* completion = nullptr;
  while (io_uring_peek_cqe(&ring_, &completion) == 0) {
    tag = io_uring_cqe_get_data64(completion);
    outcome = completion->res;
    const unsigned flags = completion->flags;
    io_uring_cqe_seen(&ring_, completion);
    if (tag >= first_tag) return true;
    if (tag == bell_tag) on_bell(outcome, flags);
  }
  return false;
}

void kernel_ring::arm_bell() noexcept {
  io_uring_sqe& sqe = next_submission();
  if (features_.multishot) {
    io_uring_prep_poll_multishot(&sqe, bell_fd_, POLLIN);
  } else {
    io_uring_prep_poll_add(&sqe, bell_fd_, POLLIN);
  }
  io_uring_sqe_set_data64(&sqe, bell_tag);
}

void kernel_ring::on_bell(int outcome, unsigned flags) noexcept {
  rang_ = true;
  // Empty it before the poll is armed again: a ring from now on is seen by that.
  std::uint64_t rings;
  [[maybe_unused]] const ssize_t taken = ::read(bell_fd_, &rings, sizeof rings);
  if ((flags & IORING_CQE_F_MORE) != 0) return;
  // A kernel without multishot polls refuses the flag; one that has them may end one at will.
  if (outcome == -EINVAL) features_.multishot = false;
  arm_bell();
}

void kernel_ring::ring_bell() const noexcept {
  const std::uint64_t one = 1;
  // Can fail only by a full counter, which is a bell that rings.
  [[maybe_unused]] const ssize_t written = ::write(bell_fd_, &one, sizeof one);
}

}  // namespace interlock::inline INTERLOCK_PLATFORM::uring
