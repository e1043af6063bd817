// SPDX-License-Identifier: Apache-2.0

/// The other translation unit of lock_validator_test.cpp.

#include "checked/shared_declaration.hpp"

namespace interlock::test {

std::unique_ptr<shared_declaration> make_elsewhere() {
  return std::make_unique<shared_declaration>();
}

}  // namespace interlock::test
