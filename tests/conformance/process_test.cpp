// SPDX-License-Identifier: Apache-2.0

/// Devices and the process: fork, and descriptors that run out.

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device_test.hpp"
#include "interlock/fence_fd.hpp"

CONFORMANCE_SUITE(process, device_feature::none);

namespace conformance {
namespace {

/// In the child: 0, or the number of the expectation that failed.
int check_child(std::unique_ptr<device_queue>& queue, const ref_ptr<dma_fence>& unfinished,
                const ref_ptr<dma_fence>& finished) {
  job work = nop();
  const auto refused = queue->submit(work);
  if (refused || refused.error() != error::no_such_device) return 1;
  if (!unfinished->wait_until(patience())) return 2;
  if (unfinished->status() != to_negative_errno(error::no_such_device)) return 3;
  if (finished->status() != 1) return 4;
  queue->cancel_all(error::operation_canceled);
  if (queue->statistics().submitted != 2) return 5;
  queue.reset();
  return 0;
}

}  // namespace
}  // namespace conformance

CONFORMANCE(process, a_child_of_fork_has_no_device) {
  SKIP_IF_CHILDREN_HAVE_NO_THREADS();
  auto queue = test.open();
  const auto gate = make_gate();
  job first = nop(), second = nop_after(gate);
  const auto finished = submit(*queue, first);
  ASSERT_TRUE(wait_for_word(*queue, 1));
  const auto unfinished = submit(*queue, second);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) ::_exit(check_child(queue, unfinished, finished));
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status)) << "the child died";
  EXPECT_EQ(WEXITSTATUS(status), 0);

  gate->signal();
  ASSERT_TRUE(unfinished->wait_until(patience()));
  EXPECT_EQ(unfinished->status(), 1) << "the parent's device goes on";
}

/// In the child all that was not done has failed; in the parent nothing has happened.
CONFORMANCE(process, a_child_of_fork_ends_no_wait_of_its_parent) {
  SKIP_IF_CHILDREN_HAVE_NO_THREADS();
  auto queue = test.open();
  const auto gate = make_gate();
  job work = nop_after(gate);
  const auto fence = submit(*queue, work);
  const fence_fd fd = fence_fd::open(*fence).value();
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const bool failed = fence->status() == to_negative_errno(error::no_such_device);
    queue.reset();
    ::_exit(failed ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  pollfd ready{fd.get(), POLLIN, 0};
  EXPECT_EQ(::poll(&ready, 1, 0), 0) << "the work is not done";
  gate->signal();
  ASSERT_TRUE(fence->wait_until(patience()));
  EXPECT_EQ(::poll(&ready, 1, -1), 1);
}

CONFORMANCE(process, out_of_descriptors) {
  { auto warm = test.open(); }  // what the library opens once for all
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const int next = ::fcntl(0, F_DUPFD_CLOEXEC, 3);
  ASSERT_GE(next, 0);
  ::close(next);
  // None left, then one: each step of opening fails once.
  for (rlim_t left = 0; left < 2; ++left) {
    rlimit tight = before;
    tight.rlim_cur = static_cast<rlim_t>(next) + left;
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &tight), 0);
    const auto queue = test.which().source->open(test.options());
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
    if (queue) continue;
    EXPECT_EQ(queue.error(), error::too_many_files_open);
    if (left == 0) SUCCEED();
  }
  const int after = ::fcntl(0, F_DUPFD_CLOEXEC, 3);
  ::close(after);
  EXPECT_EQ(after, next) << "a descriptor leaked";
}
