// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What the files share that put functions in the place of libc's.

#include <dlfcn.h>

#include <cstdint>
#include <cstdlib>

#define EXPORT extern "C" __attribute__((visibility("default")))
#define CALLER reinterpret_cast<std::uintptr_t>(__builtin_return_address(0))

namespace interlock::machine {

/// The next definition behind ours, looked up once.
template <class F>
F* real(F*& cache, const char* name) noexcept {
  if (cache == nullptr) [[unlikely]] {
    cache = reinterpret_cast<F*>(dlsym(RTLD_NEXT, name));
    if (cache == nullptr) std::abort();
  }
  return cache;
}

}  // namespace interlock::machine

#define REAL(name)                                 \
  ([]() noexcept -> decltype(&::name) {            \
    static decltype(&::name) cache;                \
    return interlock::machine::real(cache, #name); \
  }())
