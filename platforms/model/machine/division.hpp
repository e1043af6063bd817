// SPDX-License-Identifier: Apache-2.0
#pragma once

/// One search, divided among processes. The first has forked the others, so that all have the same program at the same addresses.
///
/// A *state* here is one of the search whose branches are for any of them; those near the root are. A *job* is a branch of such a
/// state: all executions that begin with the choices that lead there. Each process goes through its job by itself, as one
/// would alone. When another has nothing to do, it makes a state of its own a shared one, and keeps the branch that it is at.
///   D1. All states above a job are shared. A race that is to be reversed there adds its branch to the shared state, in one
///       step: all processes together add it once.
///   D2. Branches of a state begin one after the other. In each those are asleep that began before it, whether they have
///       ended or not: what they find to be run they add to the state themselves. So no two processes run the same.
///   D3. A state ends when no branch of it is left, and all have ended. When all states have, so has the search.
///   D4. Who is asleep because of a step with many accesses (granularity `user`) is woken by what meets one of them. Its process tells
///       them when it has taken the step, in the first execution of its job; the next branch begins after that.
/// Source: Yang, Chen, Gopalakrishnan, Kirby, "Distributed dynamic partial order reduction based verification of threaded
/// software" (2007).
///
/// One that ends early takes what it had to do with it, so the search fails then.

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "clock.hpp"
#include "op.hpp"

namespace interlock::machine {

enum class failure_kind : std::uint8_t;

/// What the search knows of a state on its path.
struct node {
  process_set enabled, todo, done, sleep;
  process_set late;           ///< what they went on to do from here depends on steps of others
  std::uint64_t fingerprint;  ///< of the chosen step; 0: not taken yet
  std::uint32_t replaceable;  ///< CPUs whose task may be replaced
  std::uint32_t interruptible[2];
  process_id chosen;
  std::uint32_t first_record;  ///< of `search::records_`
};

class division {
 public:
  static constexpr unsigned max_processes_of_one = 64;
  using place = std::uint32_t;  ///< of a shared state
  static constexpr place nowhere = UINT32_MAX;

  /// Why all of them have to stop.
  enum class stop : std::uint32_t { goes_on, all_is_done, budget_is_spent, failed, learned, died };

  division() noexcept = default;
  ~division() { forget(); }
  division(const division&) = delete;
  division& operator=(const division&) = delete;

  /// Begins with the caller alone, who is at the whole search. `room`: so many executions are left to all of them. `by_accesses`: D4.
  /// False: the system gives no memory.
  bool begin(std::uint64_t room, bool by_accesses) noexcept;
  [[nodiscard]] bool is_on() const noexcept { return s_ != nullptr; }
  /// Which one the caller is; 0: the first.
  [[nodiscard]] unsigned self() const noexcept { return self_; }
  [[nodiscard]] unsigned processes() const noexcept { return count_; }
  /// Looks whether one has died; then all stop. Context: the first.
  void look_after_others() noexcept;

  /// Another process. Returns its number in it, 0 in the caller, and -1 if there can be none. Context: the first, the host.
  int start_process() noexcept;
  /// The last that a process of those does.
  [[noreturn]] void leave() noexcept;
  /// The first waits for the others, who have been told to stop. False: one of them has died, and `stopped` says so then.
  bool wait_for_others() noexcept;
  void forget() noexcept;

  // --- stopping ---
  [[nodiscard]] stop stopped() const noexcept;
  /// False: another reason came first.
  bool stop_all(stop why) noexcept;
  /// One that has seen a failure tells it. False: another has told one.
  bool tell_failure(failure_kind kind, const char* text, const process_id* choices,
                    std::size_t count) noexcept;
  struct failure {
    failure_kind kind;
    const char* text;
    const process_id* choices;
    std::size_t count;
  };
  [[nodiscard]] failure told_failure() const noexcept;
  [[nodiscard]] int signal_of_the_dead() const noexcept { return died_of_; }

  // --- counting ---
  /// Before an execution. False: there are no more left.
  bool take_execution() noexcept;
  struct counts {
    std::uint64_t executions, blocked, steps;
  };
  /// Of the caller, since it began here.
  void tell(const counts& mine) noexcept;
  /// How much of its job is done.
  void tell_searched(double part) noexcept;
  /// Of all but the caller.
  [[nodiscard]] counts of_others() const noexcept;
  /// What is to be said at the end of the whole.
  void not_exact() noexcept;
  [[nodiscard]] bool is_exact() const noexcept;

  /// Learned facts, which all have to know.
  void tell_fact(std::uint64_t fact) noexcept;
  /// Null if there are more than it has room for.
  [[nodiscard]] const std::uint64_t* facts(std::size_t& count) const noexcept;

  // --- jobs ---
  struct job {
    place at;
    process_id branch;
    process_set begun;  ///< branches that began before it
    process_set late;   ///< of these: see node
  };
  enum class next : std::uint8_t { job, none_yet, none };
  /// A branch to go through. `none_yet`: others may still find one.
  next take(job& found) noexcept;
  /// The job below `at` has been gone through.
  void finish(place at) noexcept;
  /// Waits until there may be a job, for a short time at most.
  void wait() noexcept;
  /// The states that lead to `at`, and their places, outermost first. Returns how many there are.
  std::size_t path_to(place at, node* path, place* places) const noexcept;
  /// D1. One of `found`, none of which is there yet.
  void add(place at, process_set found, process_id preferred) noexcept;
  void add_late(place at, process_id branch) noexcept;
  /// Somebody waits for a job.
  [[nodiscard]] bool is_hungry() const noexcept;
  /// There are jobs that nobody has taken: wakes those who wait.
  bool has_jobs() noexcept;
  /// The states of `path`, below `above`, are shared from now on. False: there is no room.
  bool share(place above, const node* path, std::size_t count, place* places) noexcept;
  // --- accesses (D4) ---
  [[nodiscard]] bool is_by_accesses() const noexcept;
  /// Of the first step of a branch; `list` null: they are not known.
  void tell_accesses(place at, process_id branch, const footprint* list,
                     std::size_t count) noexcept;
  static constexpr std::size_t unknown = SIZE_MAX;
  /// How many were told, and, if there is room for them, which.
  std::size_t accesses_of(place at, process_id branch, footprint* list, std::size_t room) noexcept;

  /// About how much of the search is done. `expected`: how many branches a state of that depth has on average, as far as it is known.
  [[nodiscard]] double searched(const double* expected, std::size_t depths);

 private:
  struct shared;
  struct state;
  struct chunk;
  [[nodiscard]] bool lock() noexcept;
  void unlock() noexcept;
  [[nodiscard]] static process_set left_of(const state& s) noexcept;
  void free_lists(state& s) noexcept;
  /// The one nearest to the root of which a branch is left that can begin; `nowhere` if there is none.
  [[nodiscard]] place first_open() noexcept;

  shared* s_ = nullptr;
  std::uint32_t seen_ = 0;  ///< as of the last look for a job
  unsigned self_ = 0;
  unsigned count_ = 1;
  ::pid_t children_[max_processes_of_one] = {};
  int died_of_ = 0;
};

}  // namespace interlock::machine
