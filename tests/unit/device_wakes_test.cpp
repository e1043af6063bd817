// SPDX-License-Identifier: Apache-2.0

/// `wakes` against the kernel's own count of a thread's sleeps.

#include <dirent.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "interlock/device/provider.hpp"
#include "support/tasks.hpp"

namespace interlock {
namespace {

std::vector<const provider*> providers() {
  std::vector<const provider*> all;
#if defined(INTERLOCK_HAS_ENGINE)
  all.push_back(&engine_provider());
#endif
#if defined(INTERLOCK_HAS_PREAD)
  all.push_back(&pread_provider());
#endif
#if defined(INTERLOCK_HAS_URING)
  all.push_back(&uring_provider());
#endif
  return all;
}

/// How often the thread called `name` gave up its CPU to sleep; -1 if there is none.
long voluntary_switches(const std::string& name) {
  const std::unique_ptr<DIR, int (*)(DIR*)> tasks{::opendir("/proc/self/task"), &::closedir};
  while (const dirent* const entry = ::readdir(tasks.get())) {
    const std::string folder = std::string{"/proc/self/task/"} + entry->d_name;
    std::string comm;
    std::getline(std::ifstream{folder + "/comm"}, comm);
    if (comm != name) continue;
    std::ifstream status{folder + "/status"};
    for (std::string line; std::getline(status, line);) {
      if (line.starts_with("voluntary_ctxt_switches:")) {
        return std::strtol(line.c_str() + line.find(':') + 1, nullptr, 10);
      }
    }
  }
  return -1;
}

class device_wakes : public testing::TestWithParam<const provider*> {};

TEST_P(device_wakes, are_those_that_the_kernel_counts) {
  const provider_probe found = GetParam()->probe();
  if (!found.available) GTEST_SKIP() << found.detail;
  device_queue_options options;
  options.name = "counted-device";
  const auto queue = std::move(*GetParam()->open(options));
  const long before = voluntary_switches(options.name);
  ASSERT_GE(before, 0);
  std::uint64_t seqno = 0;
  while (seqno < 2000 && queue->statistics().wakes < 50) {
    job work;
    work.kind = job_kind::nop;
    ASSERT_TRUE(queue->submit(work));
    ++seqno;
    ASSERT_TRUE(test::eventually([&] { return seqno_timeline_passed(queue->timeline(), seqno); }));
    for (int i = 0; i < 50; ++i) schedule();
  }
  // The last sleep is in the kernel's count as soon as it begins, in ours when it has ended.
  const auto wakes = static_cast<long>(queue->statistics().wakes);
  const long switches = voluntary_switches(options.name) - before;
  EXPECT_GE(wakes, 1);
  EXPECT_NEAR(static_cast<double>(switches), static_cast<double>(wakes), 3.0);
}

INSTANTIATE_TEST_SUITE_P(, device_wakes, testing::ValuesIn(providers()),
                         [](const auto& one) { return std::string{one.param->name}; });

}  // namespace
}  // namespace interlock
