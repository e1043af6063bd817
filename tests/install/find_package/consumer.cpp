// SPDX-License-Identifier: Apache-2.0
// A user of the installed library: prints the version, which stands in its header and in its
// binary.
#include <cstdio>
#include <cstring>

#include "interlock/error.hpp"
#include "interlock/result.hpp"
#include "interlock/version.hpp"

namespace {

interlock::result<int> answer(bool good) {
  if (!good) return interlock::unexpected{interlock::error::invalid_argument};
  return 42;
}

}  // namespace

int main() {
  if (!answer(true) || answer(false)) return 1;
  char compiled[32];
  std::snprintf(compiled, sizeof compiled, "%d.%d.%d", INTERLOCK_VERSION_MAJOR,
                INTERLOCK_VERSION_MINOR, INTERLOCK_VERSION_PATCH);
  if (std::strcmp(compiled, interlock_version_string()) != 0) return 2;
  std::puts(compiled);
}
