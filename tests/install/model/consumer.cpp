// SPDX-License-Identifier: Apache-2.0

/// Explores a lock and a race on the installed model platform, and says the version.

#include <cstdio>
#include <iostream>
#include <thread>

#include "interlock/interlock.hpp"
#include "interlock/model/explore.hpp"
#include "interlock/version.hpp"

namespace {

using namespace interlock;

spinlock lock;
int shared = 0;

model::report add_twice(bool locked) {
  model::options how;
  how.preemption = model::preemption::full;
  return model::explore(how, [locked] {
    const auto add = [locked] {
      if (locked) {
        const guard g{irqsave, lock};
        ++shared;
      } else {
        ++shared;
      }
    };
    std::thread other{add};
    add();
    other.join();
    if (locked && shared != 2) interlock_machine_fail("an update is lost");
  });
}

}  // namespace

int main() {
  const model::report good = add_twice(true);
  if (!good.passed() || !good.complete()) return std::cerr << good, 1;
  const model::report bad = add_twice(false);
  if (bad.passed() || bad.text().rfind("BUG: data-race: ", 0) != 0) return std::cerr << bad, 2;
  std::puts(interlock_version_string());
  return 0;
}
