// SPDX-License-Identifier: Apache-2.0

/// The providers of interlock::checked: they work under the lock validator, which finds nothing in them, and sees what their jobs do.

#include <gtest/gtest.h>

#include <vector>

#include "interlock/device/provider.hpp"
#include "interlock/interlock.hpp"
#include "support/report_recorder.hpp"

namespace interlock::test {
namespace {

std::vector<const provider*> providers() {
  return {
#if defined(INTERLOCK_HAS_ENGINE)
    &engine_provider(),
#endif
#if defined(INTERLOCK_HAS_PREAD)
        &pread_provider(),
#endif
#if defined(INTERLOCK_HAS_URING)
        &uring_provider(),
#endif
  };
}

class providers_test : public report_test {};

/// Waits for one job on a new queue.
void run(const provider& on, job& work) {
  const auto queue = on.open({});
  ASSERT_TRUE(queue);
  const auto fence = (*queue)->submit(work);
  ASSERT_TRUE(fence);
  (*fence)->wait();
  EXPECT_EQ((*fence)->status(), 1);
}

TEST_F(providers_test, each_does_a_job) {
  unsigned used = 0;
  for (const provider* const p : providers()) {
    SCOPED_TRACE(p->name);
    if (!p->probe().available) continue;
    job work;
    work.kind = job_kind::nop;
    run(*p, work);
    ++used;
  }
  EXPECT_GE(used, 2u);  // engine and pread need nothing
}

TEST_F(providers_test, what_a_job_locks_is_seen) {
  struct locks {
    spinlock a, b;
  } both;
  {
    guard g{no_mask, both.a};
    guard h{no_mask, both.b};
  }
  job work;
  work.kind = job_kind::execute;
  work.cookie = &both;
  work.execute = [](job& self) -> std::int64_t {
    auto& l = *static_cast<locks*>(self.cookie);
    guard g{no_mask, l.b};
    guard h{no_mask, l.a};
    return 0;
  };
  run(engine_provider(), work);
  EXPECT_TRUE(reports.took(report_kind::lock_order,
                           "WARNING: possible circular locking dependency detected\n"));
}

}  // namespace
}  // namespace interlock::test
