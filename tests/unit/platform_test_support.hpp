// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What the tests of the native platform share.

#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>

#include "interlock/atomic.hpp"
#include "interlock_platform/park.hpp"
#include "support/rounds.hpp"
#include "support/sanitizers.hpp"

namespace interlock::test {

inline std::uint32_t gettid() { return static_cast<std::uint32_t>(syscall(SYS_gettid)); }

/// A flag that one thread raises and others wait for.
class flag {
 public:
  void raise() {
    word_.store_release(1);  // [F1] pairs with [F2]
    platform::unpark(word_, platform::unpark_all);
  }
  void await() const {
    while (word_.load_acquire() == 0) {  // [F2] pairs with [F1]
      platform::park(word_, 0, no_deadline);
    }
  }
  void lower() { word_.store_relaxed(0); }

 private:
  atomic<std::uint32_t> word_{0};
};

/// Waits until thread `id` sleeps in the kernel. For threads whose only sleep is the one meant. The simulated machine cannot
/// tell, and tries what follows with and without the sleep.
inline void wait_until_asleep(std::uint32_t id) {
  if constexpr (is_explored) return;
  for (;;) {
    std::ifstream file{"/proc/self/task/" + std::to_string(id) + "/stat"};
    std::string text;
    std::getline(file, text);
    const auto end_of_name = text.rfind(')');
    if (end_of_name != std::string::npos && text[end_of_name + 2] == 'S') return;
    platform::yield();
  }
}

/// Runs `body`, which returns an exit status, in a child process, and returns what became of it.
template <class Body>
int status_of_child(Body body) {
  const pid_t child = fork();
  if (child == 0) _exit(body());
  int status = -1;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

/// Sets the library's options for programs started while it lives: "threadsafe" death tests start
/// this program anew, so the library reads them when it is loaded.
class options_for_children {
 public:
  explicit options_for_children(const char* options) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    setenv("INTERLOCK_OPTIONS", options, 1);
  }
  ~options_for_children() { unsetenv("INTERLOCK_OPTIONS"); }
  options_for_children(const options_for_children&) = delete;
  options_for_children& operator=(const options_for_children&) = delete;
};

}  // namespace interlock::test
