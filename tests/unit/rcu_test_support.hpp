// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What the tests of RCU share: flags, threads, readers, child processes with options.

#include <gtest/gtest.h>

#include <cstdlib>
#include <utility>
#include <vector>

#include "interlock/atomic.hpp"
#include "interlock/kthread.hpp"
#include "interlock/rcupdate.hpp"
#include "interlock/report.hpp"
#include "interlock_platform/park.hpp"
#include "support/sanitizers.hpp"
#include "support/tasks.hpp"

namespace interlock::test {

/// A flag that one thread raises and others wait for.
class flag {
 public:
  void raise() noexcept {
    word_.store_release(1);  // [F1] pairs with [F2]
    platform::unpark(word_, platform::unpark_all);
  }
  void await() const noexcept {
    while (!is_raised()) platform::park(word_, 0, no_deadline);
  }
  [[nodiscard]] bool is_raised() const noexcept {
    return word_.load_acquire() != 0;  // [F2] pairs with [F1]
  }

 private:
  atomic<std::uint32_t> word_{0};
};

/// Lets others run until `condition()` holds. For conditions that nobody announces.
template <class Condition>
void wait_until(Condition condition) {
  while (!condition()) platform::yield();
}

template <class F>
[[nodiscard]] kthread start(F&& body) {
  return start("rcu test", std::forward<F>(body));
}

/// A thread inside a reader from the constructor on, until `leave`.
class held_reader {
 public:
  held_reader()
      : thread_{start([this] {
          rcu_read_lock();
          entered_.raise();
          leave_.await();
          rcu_read_unlock();
        })} {
    entered_.await();
  }
  ~held_reader() { leave(); }
  held_reader(const held_reader&) = delete;
  held_reader& operator=(const held_reader&) = delete;

  void leave() {
    leave_.raise();
    if (thread_.joinable()) thread_.join();
  }

 private:
  flag entered_, leave_;
  kthread thread_;
};

/// Sets the library's options for programs started while it lives: "threadsafe" death tests start
/// this program anew, so that the library reads them.
class options_for_children {
 public:
  explicit options_for_children(const char* options) { setenv("INTERLOCK_OPTIONS", options, 1); }
  ~options_for_children() { unsetenv("INTERLOCK_OPTIONS"); }
  options_for_children(const options_for_children&) = delete;
  options_for_children& operator=(const options_for_children&) = delete;
};

/// An object whose end readers can notice.
struct checked_object {
  static constexpr unsigned alive = 0x600d'600d, dead = 0xdead'dead;
  unsigned state = alive;
  rcu_head rcu;

  checked_object() = default;
  checked_object(const checked_object&) = delete;
  checked_object& operator=(const checked_object&) = delete;
  ~checked_object() { state = dead; }
};

}  // namespace interlock::test
