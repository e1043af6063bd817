// SPDX-License-Identifier: Apache-2.0
#pragma once

/// The rows of more threads than CPUs are of two CPUs, whatever the machine has.

#include <sched.h>

#include <cstddef>

namespace suite {

/// Confines the thread to the first two CPUs that it may use, or to one of those.
inline void stay_on_two_cpus(int only = -1) {
  cpu_set_t allowed, wanted;
  CPU_ZERO(&wanted);
  sched_getaffinity(0, sizeof allowed, &allowed);
  for (std::size_t cpu = 0, nth = 0; cpu < CPU_SETSIZE && nth < 2; ++cpu) {
    if (CPU_ISSET(cpu, &allowed) == 0) continue;
    if (only < 0 || nth == static_cast<std::size_t>(only)) CPU_SET(cpu, &wanted);
    ++nth;
  }
  if (CPU_COUNT(&wanted) != 0) sched_setaffinity(0, sizeof wanted, &wanted);
}

}  // namespace suite
