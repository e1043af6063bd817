// SPDX-License-Identifier: Apache-2.0
#pragma once

/// The frame of the torture program: torments that hunt for lost wakes, lost locks and early frees
/// under random timing, each for its share of the time.
///
///   torture --seconds=60 --seed=7 --only=mutex
/// A torment is a function and a line that registers it:
///
///   void torment_mutex(torture::run& r) { while (r.goes_on()) { ...; r.count(); } }
///   const torture::torment mutex_torment{"mutex", torment_mutex};
/// A torment that hangs is named by the watchdog, which ends the program.

#include <cstdint>

#include "interlock/kthread.hpp"

namespace interlock::torture {

/// A small generator; one per thread. Same seed, same numbers.
class random {
 public:
  explicit random(std::uint64_t seed) noexcept : state_{seed * 2 + 1} {}

  std::uint32_t next() noexcept {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return static_cast<std::uint32_t>(state_ >> 32);
  }
  std::uint32_t below(std::uint32_t limit) noexcept { return next() % limit; }
  bool one_in(std::uint32_t chances) noexcept { return below(chances) == 0; }

 private:
  std::uint64_t state_;
};

/// What a torment sees of its turn. Its functions may be called from all its threads.
class run {
 public:
  run(std::uint64_t seed, deadline until) noexcept : seed_{seed}, until_{until} {}

  [[nodiscard]] bool goes_on() const noexcept { return monotonic_clock::now() < until_; }
  void count(std::uint64_t iterations = 1) noexcept { iterations_.fetch_add_relaxed(iterations); }
  [[nodiscard]] std::uint64_t iterations() const noexcept { return iterations_.load_relaxed(); }

  /// A generator of its own for thread `index`.
  [[nodiscard]] random generator(std::uint64_t index) const noexcept {
    return random{seed_ * 1000 + index};
  }
  /// Ends the program with status 1 unless `condition`.
  void check(bool condition, const char* what, location where = location::current()) noexcept;

  /// Starts a thread, or ends the program.
  template <class F>
  [[nodiscard]] kthread start(const char* name, F&& function) {
    result<kthread> started = kthread_run(name, std::forward<F>(function));
    check(started.has_value(), "a thread starts");
    return std::move(started.value());
  }

 private:
  std::uint64_t seed_;
  deadline until_;
  atomic<std::uint64_t> iterations_{0};
};

/// Static; registers itself.
struct torment {
  torment(const char* its_name, void (*its_function)(run&)) noexcept;

  const char* name;
  void (*function)(run&);
  const torment* next;
};

}  // namespace interlock::torture
