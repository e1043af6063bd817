// SPDX-License-Identifier: Apache-2.0

/// Explores a lock on the installed model platform, and says the version.

#include <cstdio>

#include "interlock/interlock.hpp"
#include "interlock/version.hpp"
#include "interlock_platform/machine.h"

namespace {

using namespace interlock;

spinlock lock;

void explored(void* times) {
  const guard g{irqsave, lock};
  if (!irqs_disabled()) interlock_machine_fail("interrupts are on");
  *static_cast<volatile unsigned*>(times) = 1;
}

}  // namespace

int main() {
  static unsigned times = 0;
  interlock_machine_options options{};
  options.cpus = 1;
  options.executions = 1;
  options.steps = 10'000;
  interlock_machine_result result{};
  interlock_machine_explore(&options, explored, &times, &result);
  if (result.failed || result.executions != 1) return 1;
  interlock_machine_result_free(&result);
  std::puts(interlock_version_string());
  return 0;
}
