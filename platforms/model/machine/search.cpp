// SPDX-License-Identifier: Apache-2.0

/// Choosing the next step, and learning from each step which other executions have to be run.

#include "search.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <functional>
#include <iterator>
#include <utility>

#include "machine.hpp"

namespace interlock::machine {
namespace {

constexpr std::size_t max_events = std::size_t{1} << 18;
constexpr std::size_t max_choices = std::size_t{1} << 22;  ///< with what is no point (every_access)
constexpr std::size_t most_accesses = std::size_t{1} << 22;

process_id lowest(process_set set) noexcept {
  return static_cast<process_id>(std::countr_zero(set));
}

std::uint64_t fingerprint(process_id p, const op& o) noexcept {
  std::uint64_t h = (std::uint64_t{p} << 8 | static_cast<std::uint64_t>(o.kind)) + 1;
  h = (h ^ o.what.address) * 0x9e37'79b9'7f4a'7c15u;
  h = (h ^ (h >> 29) ^ o.pc) * 0x2545'f491'4f6c'dd1du;
  return h | 1;
}

bool may_block(op_kind kind) noexcept {
  return kind == op_kind::lock || kind == op_kind::join || kind == op_kind::deliver;
}

bool has(const clock& c, process_id p, std::uint32_t step) noexcept { return c.at[p] > step; }

}  // namespace

search::search() noexcept
    : choices{max_choices},
      events{max_events},
      all_{max_choices},
      path_{max_events},
      places_{max_events},
      accesses_{most_accesses},
      kept_{most_accesses},
      records_{most_accesses} {}

void search::begin(method how, std::uint64_t seed, unsigned depth) noexcept {
  how_ = how;
  random_.reseed(seed);
  pct_depth_ = depth;
  executions_ = 0;
  restart();
}

void search::restart() noexcept {
  path_.clear();
  kept_.clear();
  records_.clear();
  divide(nullptr);
  has_job_ = true;
  begins_job_ = owes_accesses_ = false;
  std::memset(finished_, 0, sizeof finished_);
  std::memset(branches_, 0, sizeof branches_);
  executions_ = 0;
}

void search::replay(const process_id* list, std::size_t count) noexcept {
  how_ = method::replay;
  replayed_ = list;
  replayed_count_ = count;
  executions_ = 0;
}

constexpr std::uint64_t patient_every = 4;
constexpr unsigned rounds_of_the_patient = 100;

bool search::prepare() noexcept {
  const std::size_t steps = events.size();
  const std::size_t accesses = accesses_.size();
  choices.clear();
  all_.clear();
  events.clear();
  accesses_.clear();
  asleep_ = 0;
  m.patience = 0;
  const bool first = executions_++ == 0;
  switch (how_) {
    case method::replay: return first;
    case method::exhaustive:
    case method::enumerate:
      if (first || std::exchange(begins_job_, false)) return true;
      while (path_.size() > root_) {
        node& n = path_.back();
        n.done |= just(n.chosen);
        if (m.whole_primitives)
          keep_accesses(static_cast<std::uint32_t>(path_.size() - 1), steps, accesses);
        const process_set left = n.todo & ~n.done & ~n.sleep;
        if (left != 0) {
          n.chosen = lowest(left);
          n.fingerprint = 0;
          return true;
        }
        if (path_.size() <= counted_depths) {
          ++finished_[path_.size() - 1];
          branches_[path_.size() - 1] +=
              static_cast<std::uint64_t>(std::popcount(n.done & ~n.sleep));
        }
        while (!records_.empty() && records_.back().depth + 1 >= path_.size()) {
          kept_.resize_down(records_.back().first);
          records_.resize_down(records_.size() - 1);
        }
        path_.resize_down(path_.size() - 1);
      }
      return false;
    case method::pct:
      std::memset(priority_, 0, sizeof priority_);
      lowest_ = 16;
      for (std::uint64_t& at : change_at_) at = random_.below(longest_) + 1;
      // Who has the highest priority then spins until it gives up.
      if (executions_ % patient_every == 0) m.patience = rounds_of_the_patient;
      return true;
    case method::pos: std::memset(priority_, 0, sizeof priority_); return true;
    case method::urw:
      for (unsigned p = 0; p < max_processes; ++p) {
        expected_[p] = std::max(expected_[p], taken_[p]);
        taken_[p] = 0;
      }
      return true;
    case method::random: return true;
  }
  return false;
}

void search::execution_ended(bool /*abandoned*/) noexcept {
  longest_ = std::max<std::uint64_t>(longest_, choices.size());
  if (std::exchange(owes_accesses_, false)) {
    const std::uint32_t at = root_ - 1;
    tell_accesses(at, path_[at].chosen, accesses_at(at, events.size(), accesses_.size()));
  }
}

double search::searched() const noexcept {
  if ((how_ != method::exhaustive && how_ != method::enumerate) || path_.empty()) return 0;
  const std::size_t depth = std::min(path_.size(), counted_depths);
  double expected[counted_depths];
  expected_branches(expected, depth);
  double done = 0;
  double weight = 1;  // of what lies below the state
  for (std::size_t i = root_; i < depth; ++i) {
    const node& n = path_[i];
    const process_set known = (n.todo | just(n.chosen)) & ~n.sleep;
    const double possible = std::popcount((n.enabled & ~n.sleep) | known);
    const double count = std::max<double>(std::popcount(known), std::min(expected[i], possible));
    done += weight * std::popcount(known & n.done & ~just(n.chosen)) / count;
    weight /= count;
  }
  return done;
}

double search::searched_by_all() const {
  double expected[counted_depths];
  expected_branches(expected, counted_depths);
  return divided_->searched(expected, counted_depths);
}

/// What states have on average at each depth, from below: nothing is finished yet near the root.
void search::expected_branches(double* expected, std::size_t depths) const noexcept {
  double most = 1;
  for (std::size_t i = depths; i-- > 0;) {
    const double here = finished_[i] != 0
                            ? static_cast<double>(branches_[i]) / static_cast<double>(finished_[i])
                            : 0;
    most = std::max(most, here);
    expected[i] = here != 0 ? here : most;
  }
}

// --- choosing ---

process_id search::choose(process_set enabled) noexcept {
  if (choices.full() || all_.full() || events.full())
    m.fail(failure_kind::limit, "an execution of too many steps");
  const std::size_t depth = choices.size();
  process_id p = no_process;
  switch (how_) {
    case method::replay:
      p = depth < replayed_count_ ? replayed_[depth] : m.next_of_trial(enabled);
      if (p == no_process) p = lowest(enabled);
      if ((enabled & just(p)) == 0 && !m.may_spin_on(p)) {
        m.fail(failure_kind::divergence,
               "BUG: the replay diverges at step %zu: what was chosen there can not go on. The "
               "program, or what it depends on, has changed",
               depth);
      }
      break;
    case method::random: p = choose_at_random(enabled); break;
    case method::pct: p = choose_by_priority(enabled); break;
    case method::pos: p = choose_by_steps(enabled); break;
    case method::urw: p = choose_by_what_is_left(enabled); break;
    case method::exhaustive:
    case method::enumerate:
      if (depth < path_.size()) {
        p = path_[depth].chosen;
        if ((enabled & just(p)) == 0) {
          m.fail(failure_kind::divergence,
                 "BUG: executions diverge at step %zu: the same choices made another flow wait. "
                 "The program depends on what the machine does not control",
                 depth);
        }
      } else {
        p = choose_new(enabled);
      }
      break;
  }
  choices.push(p);
  if (counts_passes()) all_.push(p);
  return p;
}

bool search::counts_passes() noexcept { return m.every_access; }

bool search::passes(process_id p) noexcept {
  if (!counts_passes()) return true;
  if (how_ == method::replay) {
    const process_id next = replayed_next();
    if (next != no_process && next != p) return false;
  }
  if (choices.full() || all_.full() || events.full())
    m.fail(failure_kind::limit, "an execution of too many steps");
  if (how_ == method::replay) choices.push(p);
  all_.push(p);
  return true;
}

process_id search::choose_new(process_set enabled) noexcept {
  const bool reduce = how_ == method::exhaustive;
  const process_set candidates = reduce ? enabled & ~asleep_ : enabled;
  if (candidates == 0) m.abandon();
  // Going on with the same process makes for few switches.
  const bool stays = m.last != no_process && (candidates & just(m.last)) != 0 &&
                     (!m.processes[m.last].tired || candidates == just(m.last));
  const process_id p = stays ? m.last : lowest(candidates);
  if (path_.full()) m.fail(failure_kind::limit, "an execution of too many steps");
  node& n = path_.grow();
  n = {enabled, reduce ? just(p) : enabled,
       0,       reduce ? asleep_ : 0,
       0,       0,
       0,       {0, 0},
       p,       static_cast<std::uint32_t>(records_.size())};
  if (reduce) {
    for (unsigned i = 0; i < m.cpu_count; ++i) {
      const cpu& c = m.cpus[i];
      if (c.depth == 0 && (c.must_take != 0 || m.may_be_replaced(c))) n.replaceable |= 1u << i;
      for (int bell = 0; bell < 2; ++bell) {
        if (m.interruptible(c, bell)) n.interruptible[bell] |= 1u << i;
      }
    }
  }
  return p;
}

process_id search::choose_at_random(process_set enabled) noexcept {
  std::uint64_t skip = random_.below(static_cast<std::uint64_t>(std::popcount(enabled)));
  while (skip-- != 0) enabled &= enabled - 1;
  return lowest(enabled);
}

/// Each process as likely as its share of the steps that are left, those of tasks that it will start included: so every order
/// of the steps is about as likely as every other.
process_id search::choose_by_what_is_left(process_set enabled) noexcept {
  std::uint64_t unborn[max_processes] = {};
  for (unsigned p = max_processes; p-- > m.process_count;) {
    const process_id parent = parents_[p];
    if (expected_[p] != 0 && parent < p) unborn[parent] += expected_[p] + unborn[p];
  }
  const auto weight = [&](process_id p) {
    const std::uint64_t left = expected_[p] > taken_[p] ? expected_[p] - taken_[p] : 1;
    return left + unborn[p];
  };
  std::uint64_t all = 0;
  for (process_set left = enabled; left != 0; left &= left - 1) all += weight(lowest(left));
  std::uint64_t drawn = random_.below(all);
  for (process_set left = enabled;; left &= left - 1) {
    const process_id p = lowest(left);
    const std::uint64_t w = weight(p);
    if (drawn < w) return p;
    drawn -= w;
  }
}

process_id search::choose_by_priority(process_set enabled) noexcept {
  const std::uint64_t depth = choices.size();
  process_id best = no_process;
  const auto find = [&] {
    best = no_process;
    for (process_set left = enabled; left != 0; left &= left - 1) {
      const process_id p = lowest(left);
      if (priority_[p] == 0) priority_[p] = 17 + random_.below(UINT64_MAX / 2);
      if (best == no_process || priority_[p] > priority_[best]) best = p;
    }
  };
  find();
  for (unsigned i = 0; i + 1 < pct_depth_ && i < std::size(change_at_); ++i) {
    if (change_at_[i] != depth) continue;
    priority_[best] = lowest_ > 1 ? --lowest_ : 1;
    find();
  }
  return best;
}

process_id search::choose_by_steps(process_set enabled) noexcept {
  process_id best = no_process;
  for (process_set left = enabled; left != 0; left &= left - 1) {
    const process_id p = lowest(left);
    if (priority_[p] == 0) priority_[p] = 1 + random_.below(UINT64_MAX / 2);
    if (best == no_process || priority_[p] > priority_[best]) best = p;
  }
  // Those that depend on what is done now are drawn again.
  for (process_set left = enabled; left != 0; left &= left - 1) {
    const process_id p = lowest(left);
    if (p == best || dependent(m.processes[p].pending, m.processes[best].pending)) priority_[p] = 0;
  }
  return best;
}

// --- learning ---

void search::step(process_id p, const op& o) noexcept {
  if (how_ != method::exhaustive) {
    if (how_ == method::urw) {
      ++taken_[p];
      parents_[p] = m.processes[p].parent;
    }
    if (how_ == method::enumerate || how_ == method::replay) note_event(p, o);
    return;
  }
  const auto depth = static_cast<std::uint32_t>(events.size());
  node& n = path_[depth];
  const std::uint64_t mark = fingerprint(p, o);
  if (n.fingerprint == 0) {
    n.fingerprint = mark;
  } else if (n.fingerprint != mark) {
    m.fail(failure_kind::divergence,
           "BUG: executions diverge at step %u: after the same choices a flow does something else. "
           "The program depends on what the machine does not control",
           depth);
  }
  conflicts_of(p, o, depth);
  process& self = m.processes[p];
  event& e = events.grow();
  e.what = o;
  e.by = p;
  e.cpu = self.cpu;
  e.before = self.before;
  e.before.at[p] = self.before.at[p] = depth + 1;
  e.first_access = static_cast<std::uint32_t>(accesses_.size());
  note_accesses(o);
  go_to_sleep(depth, p, o);
}

/// For who tells of the execution.
void search::note_event(process_id p, const op& o) noexcept {
  event& e = events.grow();
  e.what = o;
  e.by = p;
  e.cpu = m.processes[p].cpu;
}

void search::extend(process_id p, const op& o) noexcept {
  if (how_ == method::replay && !events.full()) note_event(p, o);
  if (how_ != method::exhaustive) return;
  const auto depth = static_cast<std::uint32_t>(events.size() - 1);
  conflicts_of(p, o, depth);
  events[depth].before = m.processes[p].before;
  note_accesses(o);
  process_set next = 0;
  for (process_set left = asleep_; left != 0; left &= left - 1) {
    const process_id q = lowest(left);
    if (stays_asleep(q, p, o)) next |= just(q);
  }
  asleep_ = next;
}

void search::note_accesses(const op& o) noexcept {
  if (!m.whole_primitives) return;
  for (const footprint* f : {&o.what, &o.also}) {
    if (f->size == 0) continue;
    if (accesses_.full()) m.fail(failure_kind::limit, "too many accesses in one execution");
    accesses_.push(*f);
  }
}

/// Of the step that the last execution has taken there.
search::access_list search::accesses_at(std::uint32_t depth, std::size_t steps,
                                        std::size_t accesses) const noexcept {
  if (depth >= steps) return {};
  const std::size_t first = events[depth].first_access;
  const std::size_t end = depth + 1 < steps ? events[depth + 1].first_access : accesses;
  return {accesses_.data() + first, static_cast<std::uint32_t>(end - first)};
}

/// The branch that was chosen at `depth` is done: the last execution has taken it.
void search::keep_accesses(std::uint32_t depth, std::size_t steps, std::size_t accesses) noexcept {
  const access_list list = accesses_at(depth, steps, accesses);
  if (list.first == nullptr || how_ != method::exhaustive) return;
  if (!kept_.has_room(list.count) || records_.full()) return;
  const auto place = static_cast<std::uint32_t>(kept_.size());
  records_.push({depth, path_[depth].chosen, place, list.count});
  std::copy(list.first, list.first + list.count, kept_.take(list.count));
}

search::access_list search::kept_accesses(const node& n, std::uint32_t depth,
                                          process_id q) const noexcept {
  for (std::size_t i = n.first_record; i < records_.size() && records_[i].depth == depth; ++i) {
    if (records_[i].by == q) return {kept_.data() + records_[i].first, records_[i].count};
  }
  return {};
}

/// D4. What other processes have told of a state above the job.
void search::learn_accesses(std::uint32_t depth, process_set of) noexcept {
  path_[depth].first_record = static_cast<std::uint32_t>(records_.size());
  for (; of != 0; of &= of - 1) {
    const process_id q = lowest(of);
    const std::size_t count = divided_->accesses_of(places_[depth], q, nullptr, 0);
    if (count == division::unknown || !kept_.has_room(count) || records_.full()) continue;
    records_.push(
        {depth, q, static_cast<std::uint32_t>(kept_.size()), static_cast<std::uint32_t>(count)});
    (void)divided_->accesses_of(places_[depth], q, kept_.take(count), count);
  }
}

void search::tell_accesses(std::uint32_t depth, process_id branch,
                           const access_list& list) noexcept {
  divided_->tell_accesses(places_[depth], branch, list.first, list.count);
}

void search::met(std::uint32_t at, process_id other) noexcept {
  process& self = m.me();
  if (has(self.before, other, at)) return;
  if (events[at].cpu != self.cpu) {
    path_[at].late |= just(other);
    if (at < root_) divided_->add_late(places_[at], other);
    m.approximate = true;
  }
  reverse(at, m.self, self.before);
  self.before.join(events[at].before);
  events[events.size() - 1].before = self.before;
}

void search::waits() noexcept {
  if (how_ != method::exhaustive || !cpu_is_shared(m.me().cpu)) return;
  process_set met = just(m.self);
  for (auto at = static_cast<std::uint32_t>(events.size()); at-- > 0;) {
    const event& e = events[at];
    if (e.cpu != m.me().cpu || (met & just(e.by)) != 0) continue;
    met |= just(e.by);
    if (m.shuts_out(e.by)) meets(at, e.by);
  }
}

/// Finds the earlier steps on which this one depends, newest first, reverses those that did not have to come first, and
/// takes over their clocks.
void search::conflicts_of(process_id p, const op& o, std::uint32_t depth) noexcept {
  process& self = m.processes[p];
  if (o.kind == op_kind::wake && self.woken) {
    const event& waker = events[self.woken_by];
    const bool could_pass = self.until != for_ever && !self.watchdog;
    if (could_pass && !has(self.before, waker.by, self.woken_by))
      reverse(self.woken_by, p, self.before);
    self.before.join(waker.before);
    return;
  }
  // What it had to wait for: its CPU's store buffer (TSO).
  if (o.kind == op_kind::drain_all) {
    for (unsigned i = 0; i < m.cpu_count; ++i) {
      if (m.cpus[i].buffer != no_process) self.before.join(m.processes[m.cpus[i].buffer].before);
    }
  } else if (self.kind != process::role::buffer && m.drains(o) &&
             m.cpus[self.cpu].buffer != no_process) {
    self.before.join(m.processes[m.cpus[self.cpu].buffer].before);
  }
  conflicting_count_ = 0;
  for (const footprint* f : {&o.what, &o.also}) {
    if (f->size == 0) continue;
    each_granule(f->address, f->size, [&](std::uint64_t granule, std::uint8_t bytes) {
      const location& l = m.locations.at(granule, m.stamp);
      for (index i = l.touches; i != no_index; i = m.touches[i].next) {
        const touch& t = m.touches[i];
        if (t.by == p || (t.bytes & bytes) == 0 || !(t.writes || f->writes)) continue;
        if (conflicting_count_ < std::size(conflicting_)) {
          conflicting_[conflicting_count_++] = t.event << 1 | (t.enables ? 1u : 0u);
        } else {
          m.approximate = true;
        }
      }
    });
  }
  if (conflicting_count_ > 1)
    std::sort(conflicting_, conflicting_ + conflicting_count_, std::greater<>{});
  // What enabled this step did have to come first; what came before that for other reasons may not have.
  const auto had_to = [&](unsigned i) { return (conflicting_[i] & 1) != 0 && may_block(o.kind); };
  for (unsigned i = 0; i < conflicting_count_; ++i) {
    const std::uint32_t at = conflicting_[i] >> 1;
    const event& other = events[at];
    if (had_to(i) || has(self.before, other.by, at)) continue;
    // What enables this step has to come along, if it can.
    clock needed = self.before;
    for (unsigned k = 0; k < conflicting_count_; ++k) {
      if (had_to(k)) needed.join(events[conflicting_[k] >> 1].before);
    }
    reverse(at, p, has(needed, other.by, at) ? self.before : needed);
    self.before.join(other.before);
  }
  for (unsigned i = 0; i < conflicting_count_; ++i) {
    if (had_to(i)) self.before.join(events[conflicting_[i] >> 1].before);
  }
  bool enables = o.kind == op_kind::unlock || o.kind == op_kind::exit;
  if (o.kind == op_kind::ring) {
    const std::uint64_t which = (o.what.address & 0x00ff'ffff'ffff'ffffu) >> granule_bits;
    enables = !m.cpus[which >> 4].pending[which & 15];
  }
  if (o.what.size != 0) record_touch(o.what, depth, p, enables);
  if (o.also.size != 0) record_touch(o.also, depth, p, false);
}

void search::record_touch(const footprint& f, std::uint32_t at, process_id p,
                          bool enables) noexcept {
  each_granule(f.address, f.size, [&](std::uint64_t granule, std::uint8_t bytes) {
    location& l = m.locations.at(granule, m.stamp);
    index* link = &l.touches;
    while (*link != no_index) {
      touch& t = m.touches[*link];
      // What is recorded now is ordered behind what it replaces, and meets all that that would meet.
      const bool covered = (t.bytes & ~bytes) == 0;
      // A lock's release is kept until the next acquisition.
      if (covered && (f.writes || (t.by == p && !t.writes)) && !enables) {
        *link = t.next;
      } else {
        link = &t.next;
      }
    }
    if (m.touches.full()) m.fail(failure_kind::limit, "too many accesses in one execution");
    m.touches.push({at, p, bytes, f.writes, enables, l.touches});
    l.touches = static_cast<index>(m.touches.size() - 1);
  });
}

/// The processes that can take the first step of what has to precede the reversed step: of the steps since `from` that do not
/// depend on a postponed one (`postponed[r]`: the earliest such step of process r, plus one; 0: none), and the step of `q`.
process_set search::initials(std::uint32_t from, process_id q, const clock& before,
                             const std::uint32_t* postponed, bool in_order,
                             bool only_past) const noexcept {
  const unsigned count = m.process_count;
  const auto depends = [&](const clock& c) {
    for (unsigned r = 0; r < count; ++r) {
      if (postponed[r] != 0 && c.at[r] >= postponed[r]) return true;
    }
    return false;
  };
  std::uint32_t first[max_processes];  // first kept step of each process, plus one
  std::fill_n(first, count, 0u);
  process_set found = 0;
  const auto is_initial = [&](process_id p, const clock& c) {
    for (unsigned r = 0; r < count; ++r) {
      if (r != p && first[r] != 0 && c.at[r] >= first[r]) return false;
    }
    return true;
  };
  std::uint32_t cpus_seen = 0;
  const auto keep = [&](process_id p, unsigned cpu, const clock& c, std::uint32_t k) {
    if (!(in_order && (cpus_seen >> cpu & 1) != 0) && is_initial(p, c)) found |= just(p);
    first[p] = k + 1;
    cpus_seen |= 1u << cpu;
  };
  for (std::uint32_t k = from; k < events.size(); ++k) {
    const event& e = events[k];
    if (only_past && !has(before, e.by, k)) continue;
    if (first[e.by] == 0 && !depends(e.before)) keep(e.by, e.cpu, e.before, k);
  }
  if (first[q] == 0) keep(q, m.processes[q].cpu, before, static_cast<std::uint32_t>(events.size()));
  return found;
}

/// True if, before step `k`, q could have gone on as far as its CPU is concerned.
bool search::open_to(std::uint32_t k, process_id q) const noexcept {
  const node& n = path_[k];
  if ((n.enabled & just(q)) != 0) return true;
  const process& p = m.processes[q];
  if (p.kind == process::role::buffer) return true;
  if (p.kind == process::role::task) return (n.replaceable >> p.cpu & 1) != 0;
  return (n.interruptible[p.bell] >> p.cpu & 1) != 0;
}

/// Sees to it that an execution is run in which q's present step comes before the step `at`, on which it depends.
void search::reverse(std::uint32_t at, process_id q, const clock& before) noexcept {
  std::uint32_t postponed[max_processes];
  std::fill_n(postponed, m.process_count, 0u);
  std::uint32_t k = at;
  const auto postpone = [&](std::uint32_t step) {
    std::uint32_t& first = postponed[events[step].by];
    if (first != 0 && first <= step + 1) return false;
    first = step + 1;
    return true;
  };
  const auto is_postponed = [&](const clock& c) {
    for (unsigned r = 0; r < m.process_count; ++r) {
      if (postponed[r] != 0 && c.at[r] >= postponed[r]) return true;
    }
    return false;
  };
  postpone(at);
  // R1: what is postponed on q's own CPU takes its block with it.
  const unsigned there = m.processes[q].cpu;
  std::uint32_t step = k;
  while (cpu_is_shared(there)) {
    while (step < events.size() && !(events[step].cpu == there && events[step].by != q &&
                                     is_postponed(events[step].before)))
      ++step;
    if (step == events.size()) break;
    std::uint32_t opening = step < k ? step : k;
    if (step > k && !open_to(step, q)) {
      opening = step;
    } else if (step > k) {
      ++step;  // q could have gone before it
      continue;
    }
    bool moved = false;
    // An interrupt need not have begun: what it halted goes on, and gives way to q in its time.
    const process_id owner = events[step].by;
    bool begins = events[step].what.kind == op_kind::deliver;
    while (!begins && !open_to(opening, q)) {
      if (opening == 0) return;
      --opening;
      if (events[opening].by != owner) continue;  // what came in between is a block of its own
      moved = postpone(opening) || moved;
      begins = events[opening].what.kind == op_kind::deliver;
    }
    if (is_postponed(before)) return;  // nor what q's step depends on
    moved = moved || opening < k;
    if (opening < k) k = opening;
    step = moved ? k : step + 1;
  }
  bool shared = false;
  for (unsigned c = 0; c < m.cpu_count; ++c) shared = shared || cpu_is_shared(c);
  while (true) {
    // Anything that may come before both: perhaps it has to, so that q's CPU gives way.
    (void)add_one_of(k, q, initials(k, q, before, postponed, true, false),
                     initials(k, q, before, postponed, false, false));
    if (!shared) return;
    // And what q's step needs: if that can not go here because of another flow of its CPU, that has to give way too.
    const process_set ordered = initials(k, q, before, postponed, true, true);
    const process_set any = initials(k, q, before, postponed, false, true);
    if (add_one_of(k, q, ordered, any) || any == 0) return;
    const process_id r = lowest(ordered != 0 ? ordered : any);
    do {
      if (k == 0) return;
      --k;
      if (events[k].cpu == m.processes[r].cpu && events[k].by != r) postpone(k);
    } while (!open_to(k, r));
    if (is_postponed(before)) return;
  }
}

/// False if none of them is able to go.
bool search::add_one_of(std::uint32_t k, process_id preferred, process_set ordered,
                        process_set any) noexcept {
  node& n = path_[k];
  // Flows of one CPU keep their order if they can: their blocks may depend on each other where the steps at hand do not.
  process_set found = ordered & n.enabled;
  if (found == 0) found = any & n.enabled;
  if (found == 0) return false;
  if (k < root_) {
    divided_->add(places_[k], found, preferred);
  } else if ((found & (n.todo | n.sleep)) == 0) {
    n.todo |= just((found & just(preferred)) != 0 ? preferred : lowest(found));
  }
  return true;
}

// --- jobs ---

void search::begin_without_job() noexcept {
  path_.clear();
  kept_.clear();
  records_.clear();
  root_ = 0;
  has_job_ = false;
}

void search::end_job() noexcept {
  if (has_job_) divided_->finish(root_ == 0 ? division::nowhere : places_[root_ - 1]);
  has_job_ = false;
  path_.clear();
  kept_.clear();
  records_.clear();
  root_ = 0;
}

void search::begin_job(const division::job& next) noexcept {
  const std::size_t count = divided_->path_to(next.at, path_.data(), places_.data());
  path_.clear();
  (void)path_.take(count);
  root_ = static_cast<std::uint32_t>(count);
  node& n = path_.back();
  n.chosen = next.branch;
  n.done = next.begun;
  n.late = next.late;
  n.fingerprint = 0;
  has_job_ = begins_job_ = true;
  owes_accesses_ = divided_->is_by_accesses();
  if (!owes_accesses_) return;
  for (std::uint32_t k = 0; k < root_; ++k) {
    // Who has gone to sleep there.
    if (k + 1 < root_) path_[k].done = path_[k + 1].sleep & ~path_[k].sleep;
    learn_accesses(k, path_[k].done);
  }
}

void search::offer_jobs() noexcept {
  if (!divided_->is_hungry() || divided_->has_jobs()) return;
  // The largest part is nearest to the root.
  for (std::size_t k = root_; k < path_.size(); ++k) {
    const node& n = path_[k];
    if ((n.todo & ~n.done & ~n.sleep & ~just(n.chosen)) == 0) continue;
    const division::place above = root_ == 0 ? division::nowhere : places_[root_ - 1];
    const std::size_t count = k + 1 - root_;
    if (!divided_->share(above, path_.data() + root_, count, places_.data() + root_)) return;
    for (auto at = root_; divided_->is_by_accesses() && at <= k; ++at) {
      for (process_set left = path_[at].done; left != 0; left &= left - 1)
        tell_accesses(at, lowest(left), kept_accesses(path_[at], at, lowest(left)));
      tell_accesses(at, path_[at].chosen, accesses_at(at, events.size(), accesses_.size()));
    }
    root_ = static_cast<std::uint32_t>(k + 1);
    (void)divided_->has_jobs();  // so that they wake
    return;
  }
}

// --- sleeping ---

bool search::cpu_is_shared(unsigned cpu) noexcept { return m.interrupts_seen || m.is_shared(cpu); }

/// R2. What a process slept with is its next step; on its own CPU the rest of its block would count too, and that is not known yet.
bool search::stays_asleep(process_id q, process_id p, const op& o) const noexcept {
  if (q == p || m.same_cpu(p, q)) return false;
  if (!m.whole_primitives) return !dependent(m.processes[q].pending, o);
  const access_list& list = would_access_[q];
  return list.first != nullptr &&
         std::none_of(list.first, list.first + list.count, [&o](const footprint& f) {
           return conflict(f, o.what) || conflict(f, o.also);
         });
}

void search::go_to_sleep(std::uint32_t depth, process_id p, const op& o) noexcept {
  const node& n = path_[depth];
  process_set next = 0;
  for (process_set left = (n.done & ~n.late) | n.sleep; left != 0; left &= left - 1) {
    const process_id q = lowest(left);
    if (m.whole_primitives && (n.done & just(q)) != 0)
      would_access_[q] = kept_accesses(n, depth, q);
    if (stays_asleep(q, p, o)) next |= just(q);
  }
  asleep_ = next;
}

}  // namespace interlock::machine
