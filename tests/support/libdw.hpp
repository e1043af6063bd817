// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Names of functions in stacks need libdw, which a machine may lack.

#include <dlfcn.h>
#include <gtest/gtest.h>

namespace interlock::test {

[[nodiscard]] inline bool has_libdw() {
  void* const handle = dlopen("libdw.so.1", RTLD_LAZY);
  if (handle != nullptr) dlclose(handle);
  return handle != nullptr;
}

}  // namespace interlock::test

#define SKIP_WITHOUT_LIBDW()         \
  if (!interlock::test::has_libdw()) \
  GTEST_SKIP() << "functions of a program have no names without libdw"
