// SPDX-License-Identifier: Apache-2.0

/// Takes two locks in both orders, is told so once, and says the version.

#include <cstdio>
#include <cstring>

#include "interlock/interlock.hpp"

namespace {

using namespace interlock;

int told = 0;

void count(const report& what, void*) noexcept {
  constexpr char expected[] = "WARNING: possible circular locking dependency detected\n";
  if (what.kind == report_kind::lock_order &&
      std::strncmp(what.text, expected, sizeof expected - 1) == 0) {
    ++told;
  }
}

void nest(spinlock& outer, spinlock& inner) {
  const guard o{no_mask, outer};
  const guard i{no_mask, inner};
}

}  // namespace

int main() {
  set_report_handler(count, nullptr);
  spinlock a;
  spinlock b;
  nest(a, b);
  if (told != 0) return 1;
  nest(b, a);
  nest(b, a);
  if (told != 1 || report_count() != 1) return 2;
  std::puts(interlock_version_string());
}
