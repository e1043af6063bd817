// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Which executions are run: exhaustively, with or without reduction; at random, in several ways; or one that is replayed.
///
/// The reduction is source-set dynamic partial-order reduction with sleep sets. Source: Abdulla, Aronis, Jonsson, Sagonas,
/// "Optimal dynamic partial order reduction" (2014); Flanagan, Godefroid (2005); sleep sets: Godefroid (1996).
///
/// What is added for CPUs. Two steps of different processes that touch nothing in common commute, but an interrupt's steps and
/// those of what it halted can not take turns: only the whole interrupt moves. A *block* is what a process does from a step
/// of its until its CPU may do something else.
///   R1. A race is reversed at the last state in which the second process, or one that its step needs, could go on:
///       where the first step's block begins, or before what kept the second from running.
///   R2. A sleeping process is woken by every step on its own CPU: what its block would go on to do is not known when it goes to sleep.
///   R3. Flows of one CPU keep plain memory apart by masks, or by not giving way, which are no steps. So there plain
///       accesses count too: they belong to the step they come after. By R2 nobody of that CPU sleeps through them. On
///       another CPU they count where a release orders a handler before it, which is no step either: whose block has met
///       such an access does not sleep in the branches beside it, and the search is not called complete, since it may do so
///       for the first time there. The clock is such memory: who reads it sees which deadlines have passed.
///   R4. Who waits and keeps its CPU shuts out the other flows there: its wait depends on each of their steps, since one that
///       went before it may have helped.
///   R5. A step may have several accesses (granularity `user`): each counts, when it is made. A process that sleeps has taken its
///       step once, in the branch that it sleeps because of: what was accessed there wakes it. If that is not known, all does.

#include <cstdint>
#include <cstring>

#include "clock.hpp"
#include "division.hpp"
#include "op.hpp"
#include "storage.hpp"

namespace interlock::machine {

enum class method : std::uint8_t { exhaustive, enumerate, random, pct, pos, urw, replay };

/// A generator with a known sequence for each seed (xorshift64*).
class random_source {
 public:
  explicit random_source(std::uint64_t seed = 1) noexcept { reseed(seed); }
  void reseed(std::uint64_t seed) noexcept {
    state_ = seed * 0x9e37'79b9'7f4a'7c15u + 0x2545'f491'4f6c'dd1du;
  }
  std::uint64_t next() noexcept {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 0x2545'f491'4f6c'dd1du;
  }
  /// Below `bound`, which is not 0.
  std::uint64_t below(std::uint64_t bound) noexcept { return (next() >> 11) % bound; }

 private:
  std::uint64_t state_ = 1;
};

struct event {
  op what;
  process_id by;
  std::uint8_t cpu;
  clock before;                ///< dependence: with its own step counted
  std::uint32_t first_access;  ///< of `search::accesses_` (granularity `user`)
};

class search {
 public:
  search() noexcept;

  void begin(method how, std::uint64_t seed, unsigned depth) noexcept;
  /// Another program: nothing that was learned holds.
  void forget() noexcept {
    std::memset(expected_, 0, sizeof expected_);
    std::memset(taken_, 0, sizeof taken_);
  }
  /// Before each execution. False: there is none left.
  bool prepare() noexcept;
  /// After an execution.
  void execution_ended(bool abandoned) noexcept;
  /// What was learned changes the points: begin again.
  void restart() noexcept;

  // --- divided among processes: see division.hpp ---
  /// From now on, or, with null, no more.
  void divide(division* among) noexcept {
    divided_ = among;
    root_ = 0;
  }
  /// Another process has been started, and this is it: the job is another's.
  void begin_without_job() noexcept;
  /// The job is done, if there was one; and this is the next.
  void end_job() noexcept;
  void begin_job(const division::job& next) noexcept;
  /// If another process waits for a job, and there is none: makes one of a branch that is left here. Context: the host.
  void offer_jobs() noexcept;

  process_id choose(process_set enabled) noexcept;
  void step(process_id p, const op& o) noexcept;
  /// R5. The last step was p's, and `o` is a part of it.
  void extend(process_id p, const op& o) noexcept;
  /// R3. The present step has made a plain access that meets one of step `at`, by `other`.
  void meets(std::uint32_t at, process_id other) noexcept {
    if (how_ == method::exhaustive) met(at, other);
  }
  /// R4. The present process begins to wait.
  void waits() noexcept;
  /// About how much of the search is done, 0 to 1: as if each branch were as large as those beside it, and each state had as many as those that
  /// are finished at its depth; if none is, as most of those below. A guess: a race that is found late adds branches near the root.
  /// Source: Knuth, "Estimating the efficiency of backtrack programs" (1975); Kilby et al., "Estimating search tree size" (2006).
  [[nodiscard]] double searched() const noexcept;
  /// The same of all processes.
  [[nodiscard]] double searched_by_all() const;
  [[nodiscard]] std::uint32_t steps_taken() const noexcept {
    return static_cast<std::uint32_t>(events.size());
  }

  /// The choices of the last execution.
  pool<process_id> choices;
  /// The same, to be replayed by one that has not learned what is shared (every_access): each access that may be a point counts.
  [[nodiscard]] const pool<process_id>& to_be_replayed() const noexcept {
    return counts_passes() && how_ != method::replay ? all_ : choices;
  }
  [[nodiscard]] bool replays() const noexcept { return how_ == method::replay; }
  /// The process makes an access that is no point, and would be one if others used that memory (every_access). False: it is one,
  /// since the replay goes on with another process.
  bool passes(process_id p) noexcept;
  pool<event> events;
  void replay(const process_id* list, std::size_t count) noexcept;
  /// Who comes next in what is replayed; `no_process`: it is not said.
  [[nodiscard]] process_id replayed_next() const noexcept {
    const bool said = how_ == method::replay && choices.size() < replayed_count_;
    return said ? replayed_[choices.size()] : no_process;
  }
  [[nodiscard]] bool replayed_all() const noexcept { return choices.size() >= replayed_count_; }

 private:
  void met(std::uint32_t at, process_id other) noexcept;
  process_id choose_new(process_set enabled) noexcept;
  process_id choose_at_random(process_set enabled) noexcept;
  process_id choose_by_priority(process_set enabled) noexcept;
  process_id choose_by_steps(process_set enabled) noexcept;
  process_id choose_by_what_is_left(process_set enabled) noexcept;
  void conflicts_of(process_id p, const op& o, std::uint32_t depth) noexcept;
  void record_touch(const footprint& f, std::uint32_t at, process_id p, bool enables) noexcept;
  [[nodiscard]] bool open_to(std::uint32_t k, process_id q) const noexcept;
  void reverse(std::uint32_t at, process_id q, const clock& before) noexcept;
  bool add_one_of(std::uint32_t k, process_id preferred, process_set ordered,
                  process_set any) noexcept;
  [[nodiscard]] process_set initials(std::uint32_t from, process_id q, const clock& before,
                                     const std::uint32_t* postponed, bool in_order,
                                     bool only_past) const noexcept;
  void go_to_sleep(std::uint32_t depth, process_id p, const op& o) noexcept;
  [[nodiscard]] bool stays_asleep(process_id q, process_id p, const op& o) const noexcept;
  void note_event(process_id p, const op& o) noexcept;
  void note_accesses(const op& o) noexcept;
  struct access_list {
    const footprint* first = nullptr;  ///< null: it is not known
    std::uint32_t count = 0;
  };
  [[nodiscard]] access_list accesses_at(std::uint32_t depth, std::size_t steps,
                                        std::size_t accesses) const noexcept;
  void keep_accesses(std::uint32_t depth, std::size_t steps, std::size_t accesses) noexcept;
  [[nodiscard]] access_list kept_accesses(const node& n, std::uint32_t depth,
                                          process_id q) const noexcept;
  void learn_accesses(std::uint32_t depth, process_set of) noexcept;
  void tell_accesses(std::uint32_t depth, process_id branch, const access_list& list) noexcept;
  [[nodiscard]] static bool cpu_is_shared(unsigned cpu) noexcept;

  method how_ = method::exhaustive;
  random_source random_;
  [[nodiscard]] static bool counts_passes() noexcept;
  pool<process_id> all_;
  pool<node> path_;
  division* divided_ = nullptr;
  std::uint32_t root_ = 0;  ///< the states above are shared, and the job is a branch of the last
  pool<division::place> places_;  ///< of them
  bool has_job_ = true;
  bool begins_job_ = false;
  bool owes_accesses_ = false;  ///< of the job's first step (D4)
  // Of the states that are finished, by depth: how many, and how many branches they had.
  static constexpr std::size_t counted_depths = 4096;
  void expected_branches(double* expected, std::size_t depths) const noexcept;
  std::uint64_t finished_[counted_depths] = {};
  std::uint64_t branches_[counted_depths] = {};
  process_set asleep_ = 0;
  // R5: what steps have accessed, of this execution; of branches that are done, as long as their states are on the path; and what
  // those would access that are asleep.
  struct record {
    std::uint32_t depth;
    process_id by;
    std::uint32_t first, count;
  };
  pool<footprint> accesses_;
  pool<footprint> kept_;
  pool<record> records_;
  access_list would_access_[max_processes];
  std::uint32_t conflicting_[4096] = {};
  unsigned conflicting_count_ = 0;
  // samplers
  std::uint64_t priority_[max_processes] = {};
  std::uint64_t change_at_[16] = {};
  unsigned pct_depth_ = 3;
  std::uint32_t expected_[max_processes] =
      {};  ///< steps, as many as any execution of the sampler had
  std::uint32_t taken_[max_processes] = {};
  process_id parents_[max_processes] = {};
  std::uint64_t longest_ = 64;
  std::uint64_t lowest_ = 0;
  std::uint64_t executions_ = 0;
  const process_id* replayed_ = nullptr;
  std::size_t replayed_count_ = 0;
};

}  // namespace interlock::machine
