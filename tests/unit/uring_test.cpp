// SPDX-License-Identifier: Apache-2.0

/// The uring provider where io_uring is forbidden or missing, as in containers.

#include <gtest/gtest.h>

#include "interlock/device/provider.hpp"

#if defined(INTERLOCK_HAS_URING)

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>

namespace interlock {
namespace {

/// From now on io_uring_setup fails with `code` in this thread and those that it starts.
bool forbid(unsigned code) {
  sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | code),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program{std::size(filter), filter};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/// Runs in a child, because a filter stays: its exit code.
template <class Function>
int in_child(Function function) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(function());
  int status = -1;
  if (::waitpid(child, &status, 0) != child || !WIFEXITED(status)) return -1;
  return WEXITSTATUS(status);
}

constexpr int no_seccomp = 77;

/// 0 if probe and open say `reason`, and the probe's line has `word` in it.
int check_refusal(error reason, const char* word) {
  const provider_probe found = uring_provider().probe();
  if (found.available) return 1;
  if (found.reason != reason) return 2;
  if (std::strstr(found.detail, word) == nullptr) return 3;
  const auto queue = uring_provider().open({});
  if (queue) return 4;
  return queue.error() == reason ? 0 : 5;
}

TEST(uring, is_unavailable_where_it_is_forbidden) {
  const int code = in_child([] {
    if (!forbid(EPERM)) return no_seccomp;
    return check_refusal(error::operation_not_permitted, "forbidden");
  });
  if (code == no_seccomp) GTEST_SKIP() << "no seccomp filters here";
  EXPECT_EQ(code, 0);
}

TEST(uring, is_unavailable_where_the_kernel_lacks_it) {
  const int code = in_child([] {
    if (!forbid(ENOSYS)) return no_seccomp;
    return check_refusal(error::function_not_supported, "not there");
  });
  if (code == no_seccomp) GTEST_SKIP() << "no seccomp filters here";
  EXPECT_EQ(code, 0);
}

TEST(uring, is_unavailable_without_memory) {
  const int code = in_child([] {
    if (!forbid(ENOMEM)) return no_seccomp;
    return check_refusal(error::not_enough_memory, "RLIMIT_MEMLOCK");
  });
  if (code == no_seccomp) GTEST_SKIP() << "no seccomp filters here";
  EXPECT_EQ(code, 0);
}

TEST(uring, says_what_is_there) {
  const provider_probe found = uring_provider().probe();
  if (!found.available) GTEST_SKIP() << found.detail;
  EXPECT_NE(std::strstr(found.detail, "kernel "), nullptr) << found.detail;
}

}  // namespace
}  // namespace interlock

#endif
