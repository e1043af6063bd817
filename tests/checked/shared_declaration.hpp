// SPDX-License-Identifier: Apache-2.0
#pragma once

/// A declaration that two translation units compile.

#include <memory>

#include "interlock/spinlock.hpp"

namespace interlock::test {

struct shared_declaration {
  spinlock lock;
};

[[nodiscard]] std::unique_ptr<shared_declaration> make_elsewhere();

}  // namespace interlock::test
