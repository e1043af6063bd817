// SPDX-License-Identifier: Apache-2.0

/// Loops that wait: the machine knows them by what a round leaves changed, so that exploring them ends; and loops that do not, of
/// which nothing is left out.

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <thread>

#include "interlock/interlock.hpp"
#include "interlock/model/explore.hpp"

namespace {

using namespace interlock;

template <class F>
model::report all(F&& function, unsigned cpus = 2) {
  model::options o;
  o.cpus = cpus;
  o.strategy = model::strategy::exhaustive;
  o.executions = 0;
  o.time = std::chrono::seconds{60};
  return model::explore(o, std::forward<F>(function));
}

void ends(const model::report& r) { EXPECT_TRUE(r.passed() && r.complete()) << r; }

/// Two threads add under a lock that spins with `acquire` and `release`.
template <class Acquire, class Release>
model::report two_add(Acquire acquire, Release release) {
  return all([=] {
    std::atomic<bool> held{false};
    int n = 0;
    const auto add = [&] {
      acquire(held);
      ++n;
      release(held);
    };
    std::thread other{add};
    add();
    other.join();
    if (n != 2) std::abort();
  });
}

TEST(spinning, test_and_set_ends) {
  const auto release = [](std::atomic<bool>& held) {
    held.store(false, std::memory_order_release);
  };
  ends(two_add(
      [](std::atomic<bool>& held) {
        while (held.exchange(true, std::memory_order_acquire)) {
        }
      },
      release));
  ends(two_add(
      [](std::atomic<bool>& held) {
        while (held.exchange(true, std::memory_order_acquire)) platform::cpu_relax();
      },
      release));
  const auto never = two_add(
      [](std::atomic<bool>& held) {
        while (held.exchange(true, std::memory_order_acquire)) {
        }
      },
      [](std::atomic<bool>&) {});
  EXPECT_NE(never.text().find("BUG: livelock"), std::string::npos) << never;
}

/// One polls what the other sets, under a lock.
template <class Lock, class Guard>
model::report poll_under_a_lock(std::uint64_t executions) {
  model::options o;
  o.strategy = model::strategy::exhaustive;
  o.executions = executions;
  return model::explore(o, [] {
    Lock lock;
    bool done = false;
    std::thread other{[&] {
      const Guard g{lock};
      done = true;
    }};
    while (true) {
      const Guard g{lock};
      if (done) break;
    }
    other.join();
  });
}

struct spin_guard {
  explicit spin_guard(spinlock& l) noexcept : lock{l} { lock.lock(no_mask); }
  ~spin_guard() { lock.unlock(no_mask); }
  spin_guard(const spin_guard&) = delete;
  spin_guard& operator=(const spin_guard&) = delete;
  spinlock& lock;
};

TEST(spinning, polling_under_a_lock_ends) {
  ends(poll_under_a_lock<std::mutex, std::lock_guard<std::mutex>>(0));
  const auto r = poll_under_a_lock<spinlock, spin_guard>(2'000);  // of some 480,000
  EXPECT_TRUE(r.passed()) << r;
}

TEST(spinning, a_loop_that_counts_is_run_whole) {
  // Each round leaves the lock as it was, and the counter not.
  const auto r = all([] {
    std::mutex lock;
    int n = 0;
    const auto add = [&] {
      for (int i = 0; i < 4; ++i) {
        const std::lock_guard g{lock};
        ++n;
      }
    };
    std::thread other{add};
    add();
    other.join();
    if (n != 8) std::abort();
  });
  ends(r);
  EXPECT_EQ(r.executions() - r.blocked(), 70u);  // 8! / (4! * 4!)
}

TEST(spinning, a_far_deadline_is_reached_by_polling) {
  ends(all([] {
    const auto until = std::chrono::steady_clock::now() + std::chrono::minutes{10};
    while (std::chrono::steady_clock::now() < until) platform::cpu_relax();
  }));
}

/// One spins until the other has set a flag, but at most `rounds` times; 0: for ever. Then it fails.
model::report spin_at_most(int rounds, bool fails, model::options o) {
  return model::explore(o, [=] {
    std::atomic<bool> ready{false};
    std::thread other{[&] { ready.store(true); }};
    bool seen = false;
    for (int i = 0; (rounds == 0 || i < rounds) && !seen; ++i) {
      seen = ready.load();
      if (!seen) platform::cpu_relax();
    }
    if (!seen && fails) std::abort();
    other.join();
  });
}

TEST(spinning, who_might_give_up_is_not_explored_completely) {
  model::options every;
  every.strategy = model::strategy::exhaustive;
  const auto bounded = spin_at_most(10, false, every);
  EXPECT_TRUE(bounded.passed() && !bounded.complete()) << bounded;
  ends(spin_at_most(0, false, every));
  // As long as the machine has not taken it to wait, all of it is seen.
  const auto soon = spin_at_most(1, true, every);
  EXPECT_FALSE(soon.passed()) << soon;
}

TEST(spinning, the_samplers_find_what_comes_of_giving_up) {
  const auto found = spin_at_most(10, true, {});
  EXPECT_FALSE(found.passed()) << found;
  model::options again;
  again.replay = found.token().c_str();
  const auto replayed = spin_at_most(10, true, again);
  EXPECT_FALSE(replayed.passed());
  EXPECT_EQ(replayed.text(), found.text());
}

}  // namespace
