// SPDX-License-Identifier: Apache-2.0

/// Runs a job on the provider that is built for the checked library.

#include <cstdio>

#include "interlock/device/provider.hpp"
#include "interlock/interlock.hpp"

int main() {
  using namespace interlock;
  const auto queue = engine_provider().open({});
  if (!queue) return 1;
  job work;
  work.kind = job_kind::execute;
  work.execute = [](job&) -> std::int64_t { return std::puts("computed"); };
  const auto fence = (*queue)->submit(work);
  if (!fence) return 2;
  (*fence)->wait();
  return work.result < 0 ? 3 : 0;
}
