// SPDX-License-Identifier: Apache-2.0
#include "division.hpp"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <vector>

#include "machine.hpp"

namespace interlock::machine {
namespace {

constexpr std::size_t states_max = std::size_t{1} << 15;
constexpr std::size_t choices_max = std::size_t{1} << 22;
constexpr std::size_t facts_max = std::size_t{1} << 16;
constexpr std::uint32_t chunks_max = std::uint32_t{1} << 17;
constexpr std::uint32_t no_chunk = 0;
constexpr unsigned word_bits = 64;
constexpr double millionths = 1e6;

process_id lowest(process_set set) noexcept {
  return static_cast<process_id>(std::countr_zero(set));
}

/// Between processes, so not the kind that one has for itself.
void wait_for_change(std::atomic<std::uint32_t>& word, std::uint32_t seen) noexcept {
  constexpr timespec at_most{0, 2'000'000};
  syscall(SYS_futex, &word, FUTEX_WAIT, seen, &at_most, nullptr, 0);
}
void wake_all(std::atomic<std::uint32_t>& word) noexcept {
  word.fetch_add(1);
  syscall(SYS_futex, &word, FUTEX_WAKE, INT32_MAX, nullptr, nullptr, 0);
}

}  // namespace

/// What was added to `todo` may not have begun; what has begun is never taken out of it.
struct division::state {
  process_set enabled, sleep;
  std::atomic<process_set> todo;
  std::atomic<process_set> late;
  process_set begun;
  std::uint64_t fingerprint;  ///< of the step that leads here; 0: none, or not known
  std::uint32_t replaceable;
  std::uint32_t interruptible[2];
  place parent;
  std::uint32_t depth;
  std::uint32_t
      open;  ///< branches that have begun and not ended; 0 and none left: the state is free
  process_id chosen;    ///< the branch of the parent that leads here
  process_set told;     ///< D4
  std::uint32_t lists;  ///< chunks
};

/// Some accesses of a branch.
struct division::chunk {
  static constexpr std::size_t most = 15;
  std::uint32_t next;       ///< of the list, or of those that are free
  std::uint32_t next_list;  ///< of the state; of a list's first chunk, as what follows
  std::uint32_t count;      ///< in the whole list
  process_id branch;
  footprint list[most];
};

struct division::shared {
  std::atomic<std::uint32_t> lock;     ///< of all that is not atomic
  std::atomic<std::uint32_t> changes;  ///< those wait for it who have no job
  std::atomic<std::uint32_t> hungry;
  std::atomic<stop> stopped;
  std::atomic<std::uint64_t> room;   ///< executions
  std::atomic<std::uint64_t> taken;  ///< of them
  std::atomic<bool> inexact;
  bool by_accesses;
  std::uint32_t jobs;  ///< that somebody is at
  place used;          ///< states from there on have never been used
  place free;          ///< a list, by `parent`
  std::uint32_t chunks_used, free_chunk;
  struct alignas(64) process {
    std::atomic<std::uint64_t> executions, blocked, steps, searched;
    std::atomic<bool> has_left;
    place at;  ///< its job is below that
    bool busy;
  } processes[max_processes_of_one];
  // Of the failure, whoever was the first.
  std::atomic<bool> failing;
  failure_kind kind;
  char text[8192];
  std::size_t count;
  process_id choices[choices_max];
  std::size_t fact_count;
  std::uint64_t facts[facts_max];
  std::atomic<std::uint64_t>
      maybe_open[states_max / word_bits];  ///< what has branches left is here
  state states[states_max];
  chunk chunks[chunks_max];  ///< 0: none
};

bool division::begin(std::uint64_t room, bool by_accesses) noexcept {
  void* const memory = mmap(nullptr, sizeof(shared), PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return false;
  s_ = static_cast<shared*>(memory);  // zeros, which is what all of it begins with
  s_->room.store(room);
  s_->by_accesses = by_accesses;
  s_->free = nowhere;
  s_->jobs = 1;
  s_->processes[0].at = nowhere;
  s_->processes[0].busy = true;
  self_ = 0;
  count_ = 1;
  died_of_ = 0;
  return true;
}

void division::forget() noexcept {
  if (s_ != nullptr) munmap(s_, sizeof(shared));
  s_ = nullptr;
}

// --- processes ---

int division::start_process() noexcept {
  if (count_ == max_processes_of_one) return -1;
  std::fflush(nullptr);  // what is in buffers is written once
  const ::pid_t parent = getpid();
  const ::pid_t child = fork();
  if (child < 0) return -1;
  if (child != 0) {
    children_[count_++] = child;
    return 0;
  }
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) ::_exit(1);
  self_ = count_++;
  return static_cast<int>(self_);
}

void division::leave() noexcept {
  std::fflush(stdout);
  std::fflush(stderr);
  s_->processes[self_].has_left.store(true);
  ::_exit(0);
}

void division::look_after_others() noexcept {
  if (self_ != 0) return;
  for (unsigned i = 1; i < count_; ++i) {
    if (children_[i] == 0) continue;
    int status = 0;
    const ::pid_t ended = waitpid(children_[i], &status, WNOHANG);
    if (ended == 0 || (ended < 0 && errno == EINTR)) continue;
    children_[i] = 0;
    if (s_->processes[i].has_left.load()) continue;
    died_of_ = ended > 0 && WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    // What it had to do is not done, even if nobody else has any more.
    for (stop why = stopped(); why != stop::failed && why != stop::died;) {
      if (s_->stopped.compare_exchange_weak(why, stop::died)) break;
    }
    wake_all(s_->changes);
  }
}

bool division::wait_for_others() noexcept {
  const auto some_run = [this] {
    return std::any_of(children_ + 1, children_ + count_, [](::pid_t p) { return p != 0; });
  };
  wake_all(s_->changes);
  for (look_after_others(); some_run(); look_after_others()) {
    constexpr timespec time{0, 200'000};
    ::clock_nanosleep(CLOCK_MONOTONIC, 0, &time, nullptr);
  }
  return stopped() != stop::died;
}

// --- stopping ---

division::stop division::stopped() const noexcept {
  return s_->stopped.load(std::memory_order_acquire);
}

bool division::stop_all(stop why) noexcept {
  stop none = stop::goes_on;
  const bool first = s_->stopped.compare_exchange_strong(none, why);
  wake_all(s_->changes);
  return first;
}

bool division::tell_failure(failure_kind kind, const char* text, const process_id* choices,
                            std::size_t count) noexcept {
  if (s_->failing.exchange(true)) return false;
  s_->kind = kind;
  std::strncpy(s_->text, text, sizeof s_->text - 1);
  s_->count = std::min(count, choices_max);
  std::memcpy(s_->choices, choices, s_->count * sizeof *choices);
  // It goes before any other reason to stop.
  s_->stopped.store(stop::failed, std::memory_order_release);
  wake_all(s_->changes);
  return true;
}

division::failure division::told_failure() const noexcept {
  return {s_->kind, s_->text, s_->choices, s_->count};
}

// --- counting ---

bool division::take_execution() noexcept {
  const std::uint64_t room = s_->room.load(std::memory_order_relaxed);
  return room == 0 || s_->taken.fetch_add(1, std::memory_order_relaxed) < room;
}

void division::tell(const counts& mine) noexcept {
  shared::process& p = s_->processes[self_];
  p.executions.store(mine.executions, std::memory_order_relaxed);
  p.blocked.store(mine.blocked, std::memory_order_relaxed);
  p.steps.store(mine.steps, std::memory_order_relaxed);
}

void division::tell_searched(double part) noexcept {
  s_->processes[self_].searched.store(static_cast<std::uint64_t>(part * millionths),
                                      std::memory_order_relaxed);
}

division::counts division::of_others() const noexcept {
  counts all{};
  for (unsigned i = 0; i < count_; ++i) {
    if (i == self_) continue;
    all.executions += s_->processes[i].executions.load(std::memory_order_relaxed);
    all.blocked += s_->processes[i].blocked.load(std::memory_order_relaxed);
    all.steps += s_->processes[i].steps.load(std::memory_order_relaxed);
  }
  return all;
}

void division::not_exact() noexcept { s_->inexact.store(true); }
bool division::is_exact() const noexcept { return !s_->inexact.load(); }

void division::tell_fact(std::uint64_t fact) noexcept {
  if (!lock()) return;
  if (s_->fact_count < facts_max) s_->facts[s_->fact_count] = fact;
  ++s_->fact_count;
  unlock();
}

const std::uint64_t* division::facts(std::size_t& count) const noexcept {
  count = s_->fact_count;
  return count <= facts_max ? s_->facts : nullptr;
}

// --- jobs ---

/// False: all have to stop, so that it does not matter any more; who held the lock may be gone.
bool division::lock() noexcept {
  constexpr unsigned look_every = 64;
  for (unsigned tries = 1; s_->lock.exchange(1, std::memory_order_acquire) != 0; ++tries) {
    if (tries % look_every != 0) continue;
    look_after_others();
    if (stopped() != stop::goes_on) return false;
    ::sched_yield();
  }
  return true;
}

void division::unlock() noexcept { s_->lock.store(0, std::memory_order_release); }

process_set division::left_of(const state& s) noexcept {
  return s.todo.load() & ~s.begun & ~s.sleep;
}

division::place division::first_open() noexcept {
  place best = nowhere;
  for (std::size_t w = 0; w * word_bits < s_->used; ++w) {
    std::atomic<std::uint64_t>& word = s_->maybe_open[w];
    for (std::uint64_t bits = word.load(); bits != 0; bits &= bits - 1) {
      const auto at =
          static_cast<place>(w * word_bits + static_cast<std::size_t>(std::countr_zero(bits)));
      const std::uint64_t bit = bits & -bits;
      const state& s = s_->states[at];
      if (left_of(s) == 0) {
        word.fetch_and(~bit);
        if (left_of(s) == 0) continue;
        word.fetch_or(bit);  // a branch was added meanwhile
      }
      if (s_->by_accesses && (s.begun & ~s.told) != 0) continue;  // D4
      if (best == nowhere || s.depth < s_->states[best].depth) best = at;
    }
  }
  return best;
}

division::next division::take(job& found) noexcept {
  if (stopped() != stop::goes_on || !lock()) return next::none;
  seen_ = s_->changes.load();
  const place at = first_open();
  if (at == nowhere) {
    const bool done = s_->jobs == 0;
    unlock();
    if (!done) return next::none_yet;
    stop_all(stop::all_is_done);
    return next::none;
  }
  state& s = s_->states[at];
  found = {at, lowest(left_of(s)), s.begun, s.late.load()};
  s.begun |= just(found.branch);
  ++s.open;
  ++s_->jobs;
  s_->processes[self_].at = at;
  s_->processes[self_].busy = true;
  s_->processes[self_].searched.store(0, std::memory_order_relaxed);
  unlock();
  return next::job;
}

void division::finish(place at) noexcept {
  if (!lock()) return;
  --s_->jobs;
  s_->processes[self_].busy = false;
  while (at != nowhere) {
    state& s = s_->states[at];
    if (--s.open != 0 || left_of(s) != 0) break;
    const place above = s.parent;
    free_lists(s);
    s.parent = s_->free;
    s_->free = at;
    at = above;
  }
  unlock();
}

void division::wait() noexcept {
  s_->hungry.fetch_add(1);
  wait_for_change(s_->changes, seen_);
  s_->hungry.fetch_sub(1);
}

std::size_t division::path_to(place at, node* path, place* places) const noexcept {
  // States above a job stay as they are, but for `todo` and `begun`.
  const std::size_t count = s_->states[at].depth + std::size_t{1};
  process_id chosen = no_process;
  std::uint64_t fingerprint = 0;
  for (std::size_t i = count; i-- > 0;) {
    const state& s = s_->states[at];
    path[i] = {
        s.enabled,     s.todo.load(std::memory_order_relaxed),   0,      s.sleep, 0, fingerprint,
        s.replaceable, {s.interruptible[0], s.interruptible[1]}, chosen, 0};
    places[i] = at;
    chosen = s.chosen;
    fingerprint = s.fingerprint;
    at = s.parent;
  }
  return count;
}

void division::add(place at, process_set found, process_id preferred) noexcept {
  state& s = s_->states[at];
  const process_id one = (found & just(preferred)) != 0 ? preferred : lowest(found);
  process_set todo = s.todo.load();
  do {
    if ((found & (todo | s.sleep)) != 0) return;
  } while (!s.todo.compare_exchange_weak(todo, todo | just(one)));
  s_->maybe_open[at / word_bits].fetch_or(std::uint64_t{1} << at % word_bits);
}

void division::add_late(place at, process_id branch) noexcept {
  s_->states[at].late.fetch_or(just(branch));
}

bool division::is_hungry() const noexcept {
  return s_->hungry.load(std::memory_order_relaxed) != 0;
}

bool division::has_jobs() noexcept {
  if (!lock()) return true;
  const bool found = first_open() != nowhere;
  unlock();
  if (found) wake_all(s_->changes);
  return found;
}

bool division::share(place above, const node* path, std::size_t count, place* places) noexcept {
  if (!lock()) return false;
  std::size_t taken = 0;
  for (; taken < count; ++taken) {
    place at = s_->free;
    if (at != nowhere) {
      s_->free = s_->states[at].parent;
    } else if (s_->used < states_max) {
      at = s_->used++;
    } else {
      break;
    }
    places[taken] = at;
  }
  if (taken < count) {
    while (taken-- > 0) {
      s_->states[places[taken]].parent = s_->free;
      s_->free = places[taken];
    }
    unlock();
    return false;
  }
  for (std::size_t i = 0; i < count; ++i) {
    const node& n = path[i];
    state& s = s_->states[places[i]];
    s.enabled = n.enabled;
    s.sleep = n.sleep;
    s.todo.store(n.todo | n.done | just(n.chosen));
    s.begun = n.done | just(n.chosen);
    s.late.store(n.late);
    s.replaceable = n.replaceable;
    std::copy(std::begin(n.interruptible), std::end(n.interruptible), s.interruptible);
    s.parent = above;
    s.depth = above == nowhere ? 0 : s_->states[above].depth + 1;
    s.open = 1;
    s.told = 0;
    s.lists = no_chunk;
    const bool first = above == nowhere;
    s.chosen = first ? no_process : path[static_cast<std::ptrdiff_t>(i) - 1].chosen;
    s.fingerprint = first ? 0 : path[static_cast<std::ptrdiff_t>(i) - 1].fingerprint;
    above = places[i];
    std::atomic<std::uint64_t>& word = s_->maybe_open[above / word_bits];
    const std::uint64_t bit = std::uint64_t{1} << above % word_bits;
    if (left_of(s) != 0) {
      word.fetch_or(bit);
    } else {
      word.fetch_and(~bit);
    }
  }
  s_->processes[self_].at = above;
  unlock();
  return true;
}

// --- accesses ---

bool division::is_by_accesses() const noexcept { return s_->by_accesses; }

void division::tell_accesses(place at, process_id branch, const footprint* list,
                             std::size_t count) noexcept {
  if (!lock()) return;
  state& s = s_->states[at];
  const auto take_chunk = [this] {
    const std::uint32_t c = s_->free_chunk;
    if (c != no_chunk) {
      s_->free_chunk = s_->chunks[c].next;
      return c;
    }
    return s_->chunks_used + 1 < chunks_max ? ++s_->chunks_used : no_chunk;
  };
  std::uint32_t first = no_chunk;
  for (std::size_t from = 0; list != nullptr && (from < count || first == no_chunk);) {
    const std::uint32_t c = take_chunk();
    if (c == no_chunk) break;
    // The last ones stand first.
    const std::size_t part = std::min(count - from, chunk::most);
    chunk& here = s_->chunks[c];
    here.next = first;
    std::copy(list + from, list + from + part, here.list);
    here.count = static_cast<std::uint32_t>(from += part);
    here.branch = branch;
    first = c;
  }
  if (first != no_chunk) {
    s_->chunks[first].next_list = s.lists;
    s.lists = first;
    // Of a list that is cut short nothing is known.
    if (s_->chunks[first].count != count) s_->chunks[first].branch = no_process;
  }
  s.told |= just(branch);
  unlock();
  if (is_hungry()) wake_all(s_->changes);
}

std::size_t division::accesses_of(place at, process_id branch, footprint* list,
                                  std::size_t room) noexcept {
  if (!lock()) return unknown;
  std::uint32_t c = s_->states[at].lists;
  while (c != no_chunk && s_->chunks[c].branch != branch) c = s_->chunks[c].next_list;
  const std::size_t count = c != no_chunk ? s_->chunks[c].count : unknown;
  if (count <= room) {
    for (; c != no_chunk; c = s_->chunks[c].next) {
      const chunk& here = s_->chunks[c];
      const std::size_t begin = here.count == 0 ? 0 : (here.count - 1) / chunk::most * chunk::most;
      std::copy(here.list, here.list + (here.count - begin), list + begin);
    }
  }
  unlock();
  return count;
}

void division::free_lists(state& s) noexcept {
  while (s.lists != no_chunk) {
    std::uint32_t c = s.lists;
    s.lists = s_->chunks[c].next_list;
    while (c != no_chunk) {
      const std::uint32_t after = s_->chunks[c].next;
      s_->chunks[c].next = s_->free_chunk;
      s_->free_chunk = c;
      c = after;
    }
  }
}

double division::searched(const double* expected, std::size_t depths) {
  if (!lock()) return 0;
  std::vector<double> weights(s_->used, 0);  // of each branch of the state
  const auto count_of = [&](const state& s) {
    const process_set known = (s.todo.load() | s.begun) & ~s.sleep;
    const double possible = std::popcount((s.enabled & ~s.sleep) | known);
    const double usual = s.depth < depths ? std::min(expected[s.depth], possible) : 0;
    return std::max({1.0, static_cast<double>(std::popcount(known)), usual});
  };
  std::vector<place> chain;
  double done = 0;
  const auto weight_of = [&](place at) {
    chain.clear();
    for (; at != nowhere && weights[at] == 0; at = s_->states[at].parent) chain.push_back(at);
    double weight = at != nowhere ? weights[at] : 1;
    for (std::size_t i = chain.size(); i-- > 0;)
      weight = weights[chain[i]] = weight / count_of(s_->states[chain[i]]);
    return weight;
  };
  // Freed states have nothing open, nor left; their parents are the list's.
  for (place at = 0; at < s_->used; ++at) {
    const state& s = s_->states[at];
    if (s.open == 0 && left_of(s) == 0) continue;
    done += weight_of(at) * (std::popcount(s.begun & ~s.sleep) - static_cast<double>(s.open));
  }
  for (unsigned i = 0; i < count_; ++i) {
    const shared::process& p = s_->processes[i];
    if (!p.busy) continue;
    const double part =
        static_cast<double>(p.searched.load(std::memory_order_relaxed)) / millionths;
    done += part * (p.at == nowhere ? 1 : weight_of(p.at));
  }
  unlock();
  return done;
}

}  // namespace interlock::machine
