// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Exploring a function: it is run again and again on the simulated machine, each time in another order of its steps,
/// interrupts and preemptions, until all that differ have been run, one fails, or the budget is spent.
///
/// What runs in it may start tasks (`kthread_run`, `std::thread`), request interrupts, and use any part of Interlock and any C++
/// memory. All that existed before is put back after each execution. See docs/model.md.
/// Link `interlock::model` instead of `interlock::interlock`; both in one program do not link.

#include <chrono>
#include <cstdint>
#include <ostream>
#include <string>
#include <type_traits>
#include <utility>

#include "interlock_platform/machine.h"

namespace interlock::model {

/// When a CPU may go over to another task. Source: Linux kernel/Kconfig.preempt.
enum class preemption : unsigned {
  none,       ///< where a task sleeps, ends, or calls cond_resched
  voluntary,  ///< also where it might sleep
  full,       ///< at every step outside of atomic context and with interrupts on
};

/// Where another flow may come in.
enum class points : unsigned {
  synchronisation,  ///< at atomic and volatile accesses and what waits or wakes; the others are checked for races
  every_access,  ///< also at plain accesses of memory that flows share
};

/// Which executions are run.
enum class strategy : unsigned {
  portfolio,   ///< exhaustively if that ends soon, then by the samplers in turn
  exhaustive,  ///< one of each class of equal executions (dynamic partial-order reduction)
  enumerate,   ///< every one: to check the reduction
  random,      ///< a fair choice at each step
  pct,         ///< random priorities that change `pct_depth - 1` times (Burckhardt et al., 2010)
  pos,         ///< random priorities of steps (Yuan, Yang, Gu, 2018)
  urw,         ///< each order of steps about as likely (Zhao, Wolff, Mathur, Roychoudhury, 2025)
  samplers,    ///< pct for the most part, the other three between
};

/// What a load may see.
enum class memory : unsigned {
  sc,   ///< the last store in the order of steps; races are still found by the memory orders
  tso,  ///< atomic stores, but seq_cst ones, wait in a buffer of their CPU: as x86 does it (Sewell et al., 2010)
};

/// How closely the insides of the library are explored.
enum class granularity : unsigned {
  library,  ///< its insides are explored; interrupts come only where it lets them in
  full,     ///< also where it holds them back, so that its replay of them is explored
  user,     ///< an operation of the library is one step, but where it waits or calls the program
};

struct options {
  unsigned cpus = 2;  ///< 1 to 8
  model::preemption preemption = model::preemption::full;
  model::granularity granularity = model::granularity::user;
  model::memory memory = model::memory::sc;
  model::points points = model::points::synchronisation;
  model::strategy strategy = model::strategy::portfolio;
  unsigned pct_depth = 3;
  std::uint64_t seed = 1;
  std::uint64_t executions = 100'000;                        ///< at most; 0: no limit
  std::chrono::nanoseconds time = std::chrono::seconds{10};  ///< at most; 0: no limit; not negative
  std::uint64_t steps = 20'000;  ///< of one execution; more is a failure; 0: 20 000
  /// A deadline that is at least so far away when its wait begins passes only when nothing else can go on: it guards against
  /// a hang. 0: any may pass at any step. Not negative; no part of a token.
  std::chrono::nanoseconds far{};
  /// Processes among which an exhaustive search is divided: 1 to 64; no part of a token. The others are forked, and end with the
  /// search. What the function does outside of the machine happens in the process that runs the execution.
  unsigned processes = 1;
  const char* replay = nullptr;  ///< the token of a failure: that execution alone
  /// In reports. Null: the test's (interlock/model/gtest.hpp), else a number. With a comma in it, it can not be replayed alone.
  const char* name = nullptr;
};

/// What came out. Copyable.
class report {
 public:
  /// No execution failed.
  [[nodiscard]] bool passed() const noexcept { return !failed_; }
  /// Every execution was run, up to equality, of the given options; a sampler never says so.
  [[nodiscard]] bool complete() const noexcept { return complete_; }
  [[nodiscard]] std::uint64_t executions() const noexcept { return executions_; }
  /// Of them, those that were cut short because they equal others.
  [[nodiscard]] std::uint64_t blocked() const noexcept { return blocked_; }
  [[nodiscard]] std::uint64_t steps() const noexcept { return steps_; }
  [[nodiscard]] std::chrono::nanoseconds time() const noexcept { return time_; }
  /// The failure: its first line names it. Empty if none.
  [[nodiscard]] const std::string& text() const noexcept { return text_; }
  /// `options::replay` of the execution that failed. Empty if none did.
  [[nodiscard]] const std::string& token() const noexcept { return token_; }

  /// The line of a shell that replays it. Empty if none failed, or nothing ran.
  [[nodiscard]] const std::string& command() const noexcept { return command_; }

  friend std::ostream& operator<<(std::ostream& out, const report& r) {
    if (r.failed_) out << r.text_;
    if (!r.command_.empty()) out << "\nreplay: " << r.command_ << '\n';
    return out << r.executions_ << " executions, " << r.steps_ << " steps, "
               << (r.complete_ ? "complete" : "not complete") << '\n';
  }

 private:
  template <class F>
  friend report explore(const options& how, F&& function);

  bool failed_ = false;
  bool complete_ = false;
  std::uint64_t executions_ = 0;
  std::uint64_t blocked_ = 0;
  std::uint64_t steps_ = 0;
  std::chrono::nanoseconds time_{};
  std::string text_;
  std::string token_;
  std::string command_;
};

/// Explores `function()`, which is the first task, on CPU 0. A task started by it stands on the next CPU in turn.
/// An execution ends when every task has returned and nothing is left to do.
/// Errors: in the report. An exception that leaves a task is a failure.
/// Context: outside of executions; one at a time in a process.
template <class F>
[[nodiscard]] report explore(const options& how, F&& function) {
  interlock_machine_options o{};
  o.cpus = how.cpus;
  o.preemption = static_cast<unsigned>(how.preemption);
  o.granularity = static_cast<unsigned>(how.granularity);
  o.memory = static_cast<unsigned>(how.memory);
  o.points = static_cast<unsigned>(how.points);
  o.strategy = static_cast<unsigned>(how.strategy);
  o.pct_depth = how.pct_depth;
  o.seed = how.seed;
  o.executions = how.executions;
  o.nanoseconds = static_cast<std::uint64_t>(how.time.count());
  o.steps = how.steps;
  o.far = static_cast<std::uint64_t>(how.far.count());
  o.processes = how.processes;
  o.replay = how.replay;
  o.name = how.name;
  interlock_machine_result result;
  using callable = std::remove_reference_t<F>;
  interlock_machine_explore(
      &o, [](void* argument) { (*static_cast<callable*>(argument))(); },
      const_cast<std::remove_const_t<callable>*>(&function), &result);
  report r;
  r.failed_ = result.failed;
  r.complete_ = result.complete;
  r.executions_ = result.executions;
  r.blocked_ = result.blocked;
  r.steps_ = result.steps;
  r.time_ = std::chrono::nanoseconds{result.nanoseconds};
  if (result.text != nullptr) r.text_ = result.text;
  if (result.token != nullptr) r.token_ = result.token;
  if (result.command != nullptr) r.command_ = result.command;
  interlock_machine_result_free(&result);
  return r;
}

/// A plain function.
[[nodiscard]] inline report explore(const options& how, void (*function)()) {
  return explore(how, [function] { function(); });
}

/// With default options.
template <class F>
[[nodiscard]] report explore(F&& function) {
  return explore(options{}, std::forward<F>(function));
}

}  // namespace interlock::model
