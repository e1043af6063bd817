// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Which sanitizer a test runs under, for the few that ask for what it cannot do.

#include "interlock/barrier.hpp"

namespace interlock::test {

inline constexpr bool thread_sanitizer = under_thread_sanitizer;

#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool address_sanitizer = true;
#elif defined(__has_feature)
inline constexpr bool address_sanitizer = __has_feature(address_sanitizer);
#else
inline constexpr bool address_sanitizer = false;
#endif

}  // namespace interlock::test

/// ThreadSanitizer holds signals back until the thread's next atomic operation or libc call.
#define SKIP_IF_SIGNALS_ARE_DEFERRED()     \
  if (::interlock::test::thread_sanitizer) \
  GTEST_SKIP() << "ThreadSanitizer defers asynchronous signals"

/// ThreadSanitizer ends a child of fork that starts a thread, as the library does there on need.
#define SKIP_IF_CHILDREN_HAVE_NO_THREADS() \
  if (::interlock::test::thread_sanitizer) \
  GTEST_SKIP() << "ThreadSanitizer allows no threads in a child of fork"
