// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>
#include <linux/io_uring.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "failure.hpp"
#include "machine_facts.hpp"
#include "owned_fd.hpp"
#include "provider_choice.hpp"

namespace interlock::cli {

namespace {

struct named_bit {
  unsigned bit;
  const char* name;
};

/// IORING_FEAT_*; by number, because the kernel may be newer than the headers.
constexpr named_bit features[] = {
    {0, "single-mmap"},     {1, "nodrop"},         {2, "submit-stable"}, {3, "rw-cur-pos"},
    {4, "cur-personality"}, {5, "fast-poll"},      {6, "poll-32bits"},   {7, "sqpoll-nonfixed"},
    {8, "ext-arg"},         {9, "native-workers"}, {10, "rsrc-tags"},    {11, "cqe-skip"},
    {12, "linked-file"},    {13, "reg-reg-ring"},  {14, "bundle"},       {15, "min-timeout"},
    {16, "rw-attr"},        {17, "no-iowait"},
};

/// The operations that the provider is made of; FUTEX_WAIT it does not use, on purpose.
constexpr named_bit operations[] = {
    {IORING_OP_READ, "read"},       {IORING_OP_WRITE, "write"},
    {IORING_OP_FSYNC, "fsync"},     {IORING_OP_POLL_ADD, "poll"},
    {IORING_OP_TIMEOUT, "timeout"}, {IORING_OP_ASYNC_CANCEL, "cancel"},
};

constexpr unsigned operations_max = 256;

/// kernel.io_uring_disabled: 0 for all, 1 for a group, 2 for nobody; -1: there is no such setting.
int disabled_setting() noexcept {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file{
      std::fopen("/proc/sys/kernel/io_uring_disabled", "re"), &std::fclose};
  int value = -1;
  return file && std::fscanf(file.get(), "%d", &value) == 1 ? value : -1;
}

std::string why_not(int code) {
  const int setting = disabled_setting();
  if (code == EPERM && setting > 0) {
    return fmt::format("forbidden by the system: kernel.io_uring_disabled = {}", setting);
  }
  if (code == EPERM || code == EACCES) {
    return "forbidden by a seccomp filter (as in most containers) or a security module";
  }
  if (code == ENOSYS) return "not in this kernel, or hidden by a seccomp filter";
  return describe_error(static_cast<error>(code));
}

std::string list_bits(std::uint32_t set) {
  std::string text;
  for (const named_bit& feature : features) {
    if ((set >> feature.bit & 1) != 0)
      text += fmt::format("{}{}", text.empty() ? "" : " ", feature.name);
  }
  return text;
}

/// How many operations the kernel has, and which of ours it lacks.
std::string list_operations(int ring) {
  constexpr std::size_t size = sizeof(io_uring_probe) + operations_max * sizeof(io_uring_probe_op);
  const auto memory = std::make_unique<std::uint64_t[]>(size / sizeof(std::uint64_t) + 1);
  auto* const probe = reinterpret_cast<io_uring_probe*>(memory.get());
  if (::syscall(SYS_io_uring_register, ring, IORING_REGISTER_PROBE, probe, operations_max) != 0) {
    return "operations unknown (Linux 5.6 tells them)";
  }
  unsigned count = 0;
  const auto supported = [probe](unsigned number) {
    return number <= probe->last_op && (probe->ops[number].flags & IO_URING_OP_SUPPORTED) != 0;
  };
  for (unsigned number = 0; number <= probe->last_op; ++number)
    count += supported(number) ? 1u : 0u;
  std::string used, missing;
  for (const named_bit& operation : operations) {
    std::string& list = supported(operation.bit) ? used : missing;
    list += fmt::format("{}{}", list.empty() ? "" : " ", operation.name);
  }
  return fmt::format("{} operations; used: {}{}{}", count, used,
                     missing.empty() ? "" : "; MISSING: ", missing);
}

bool accepts_setup(unsigned flags) noexcept {
  io_uring_params params{};
  params.flags = flags;
  const owned_fd ring{static_cast<int>(::syscall(SYS_io_uring_setup, 2, &params))};
  return static_cast<bool>(ring);
}

}  // namespace

void add_io_uring_facts(std::vector<machine_fact>& facts) {
  using state = machine_fact::state;
  const std::string group = "kernel";
  io_uring_params params{};
  const owned_fd ring{static_cast<int>(::syscall(SYS_io_uring_setup, 2, &params))};
  if (!ring) {
    facts.push_back({group, "io_uring", state::missing, why_not(errno),
                     "provider pread: a thread reads and writes"});
    return;
  }
  facts.push_back({group, "io_uring", state::present, list_operations(ring.get()), {}});
  facts.push_back({group, "io_uring features", state::note, list_bits(params.features), {}});
  constexpr unsigned deferring = 1u << 12 | 1u << 13;  // SINGLE_ISSUER, DEFER_TASKRUN (6.1)
  if (accepts_setup(deferring)) {
    facts.push_back(
        {group, "io_uring taskrun", state::present, "completions when we wait for them", {}});
  } else {
    facts.push_back({group, "io_uring taskrun", state::missing, "DEFER_TASKRUN is Linux 6.1's",
                     "completions interrupt the device's thread"});
  }
}

}  // namespace interlock::cli
