// SPDX-License-Identifier: Apache-2.0

/// The rules of oracle.hpp.

#include "oracle.hpp"

#include <cstdio>
#include <cstring>

#include "machine.hpp"
#include "report.hpp"

namespace interlock::machine {
namespace {

constexpr std::uint32_t hardirq_bits = 0x000f'0000u;
constexpr std::uint32_t nmi_bits = 0x00f0'0000u;
constexpr std::uint32_t softirq_bits = 0x0000'ff00u;
constexpr std::uint32_t serving_softirq = 0x0000'0100u;

struct described {
  explicit described(std::uintptr_t pc) noexcept {
    const bool running = m.running;
    m.running = false;
    describe(pc, text, sizeof text);
    m.running = running;
  }
  char text[320];
};

bool same_text(const char* a, const char* b) noexcept {
  return a == b || (a != nullptr && b != nullptr && std::strcmp(a, b) == 0);
}

}  // namespace

/// "lock 0x... (ring.hpp:12)", with its class.
struct oracle::named {
  named(const oracle& o, std::uint32_t l) noexcept {
    const lock_state& s = o.locks_[l];
    const lock_class& by = o.locks_[s.of].by;
    if (s.lock < 8) {
      std::snprintf(text, sizeof text, "the signalling of fences");
      return;
    }
    char of[120] = "";
    const char* const part = by.part != nullptr ? by.part : "";
    if (by.file != nullptr) {
      const char* const slash = std::strrchr(by.file, '/');
      std::snprintf(of, sizeof of, " (%s:%d%s%s)", slash != nullptr ? slash + 1 : by.file, by.line,
                    *part != '\0' ? " " : "", part);
    } else if (*part != '\0') {
      std::snprintf(of, sizeof of, " (%s)", part);
    }
    std::snprintf(text, sizeof text, "lock %p%s", reinterpret_cast<void*>(s.lock), of);
  }
  char text[160];
};

void oracle::begin_execution() noexcept {
  locks_.clear();
  edges_.clear();
  edges_.grow();  // 0: none
  fences_.clear();
  contexts_.clear();
  waits_.clear();
  std::memset(held_count_, 0, sizeof held_count_);
  std::memset(sections_, 0, sizeof sections_);
  std::memset(depth_, 0, sizeof depth_);
  std::memset(inside_, 0, sizeof inside_);
}

// --- locks ---

std::uint32_t oracle::find_lock(std::uint64_t lock) noexcept {
  for (std::uint32_t i = 0; i < locks_.size(); ++i) {
    if (locks_[i].lock == lock) return i;
  }
  return add_lock(lock);
}

std::uint32_t oracle::add_lock(std::uint64_t lock) noexcept {
  if (locks_.full()) m.fail(failure_kind::limit, "too many locks in one execution");
  const auto added = static_cast<std::uint32_t>(locks_.size());
  locks_.push({lock, 0, 0, 0, 0, 0, added, {nullptr, nullptr, nullptr, 0, nullptr}});
  return added;
}

std::uint32_t oracle::find_class(const lock_class& by) noexcept {
  for (std::uint32_t i = 0; i < locks_.size(); ++i) {
    const lock_class& there = locks_[i].by;
    if (there.key != by.key) continue;
    if (by.file == nullptr ? there.file == nullptr
                           : there.file != nullptr && same_text(there.part, by.part))
      return i;
  }
  const std::uint32_t added = add_lock(0);
  locks_[added].by = by;
  return added;
}

/// Two classes of one place: of an inline constructor that several translation units have.
bool oracle::may_be_one(std::uint32_t a, std::uint32_t b) const noexcept {
  const lock_class& one = locks_[a].by;
  const lock_class& other = locks_[b].by;
  return a == b || (one.file != nullptr && one.unit != other.unit && one.line == other.line &&
                    same_text(one.file, other.file) && same_text(one.part, other.part));
}

void oracle::lock_made(std::uint64_t lock, const lock_class& by) noexcept {
  // What a template of the C++ library constructs has a place that says nothing.
  const bool is_told = by.file != nullptr && std::strstr(by.file, "/c++/") == nullptr;
  forget_locks(lock, 1);
  const std::uint32_t of = is_told ? find_class(by) : 0;
  const std::uint32_t l = add_lock(lock);
  if (is_told) locks_[l].of = of;
  m.locations.at(granule_of(lock), m.stamp).is_lock = true;
}

void oracle::lock_belongs_to(std::uint64_t lock, const lock_class& by) noexcept {
  const std::uint32_t l = find_lock(lock);
  const std::uint32_t of = find_class(by);
  locks_[l].of = of;
  m.locations.at(granule_of(lock), m.stamp).is_lock = true;
}

bool oracle::leads_to(std::uint32_t from, std::uint32_t to, unsigned depth) const noexcept {
  if (from == to) return true;
  if (depth == 0) return false;
  for (std::uint32_t i = locks_[from].first_edge; i != 0; i = edges_[i].next) {
    if (leads_to(edges_[i].to, to, depth - 1)) return true;
  }
  return false;
}

void oracle::check_masks(std::uint32_t lock, bool attempt, std::uintptr_t pc) noexcept {
  lock_state& l = locks_[locks_[lock].of];
  const cpu& c = m.my_cpu();
  if ((c.interrupts & (hardirq_bits | nmi_bits)) != 0) {
    if (l.in_hardirq == 0 && !attempt) l.in_hardirq = pc;  // an attempt waits for nobody
  } else {
    if (!c.irqs_off && l.with_irqs_on == 0) l.with_irqs_on = pc;
    if ((c.interrupts & serving_softirq) != 0) {
      if (l.in_softirq == 0 && !attempt) l.in_softirq = pc;
    } else if ((c.interrupts & softirq_bits) == 0 && !c.irqs_off && l.with_bh_on == 0) {
      l.with_bh_on = pc;
    }
  }
  const bool hard = l.in_hardirq != 0 && l.with_irqs_on != 0;
  const bool soft = l.in_softirq != 0 && l.with_bh_on != 0;
  if (!hard && !soft) return;
  const described inside{hard ? l.in_hardirq : l.in_softirq};
  const described outside{hard ? l.with_irqs_on : l.with_bh_on};
  m.fail(failure_kind::rule,
         "WARNING: inconsistent lock state\ninconsistent {%s-ON-W} -> {IN-%s-W} usage of %s\n "
         " in an interrupt: %s\n  with %s "
         "on: %s\nthe interrupt can come while the lock is held there, on the same CPU, and wait "
         "for it for ever",
         hard ? "HARDIRQ" : "SOFTIRQ", hard ? "HARDIRQ" : "SOFTIRQ", named{*this, lock}.text,
         inside.text, hard ? "interrupts" : "bottom halves", outside.text);
}

void oracle::lock_acquire(std::uint64_t lock, bool sleeping, bool attempt,
                          std::uintptr_t pc) noexcept {
  const std::uint32_t l = find_lock(lock);
  m.locations.at(granule_of(lock), m.stamp).is_lock = true;
  if (!sleeping) check_masks(l, attempt, pc);
  if (attempt) return;  // it waits for nobody
  order_behind_held(l, pc);
}

void oracle::order_behind_held(std::uint32_t lock, std::uintptr_t pc) noexcept {
  const process_id self = m.self;
  for (unsigned i = 0; i < held_count_[self]; ++i) {
    const std::uint32_t held = held_[self][i];
    if (held == lock) continue;
    const bool by_class = !may_be_one(locks_[held].of, locks_[lock].of);
    const std::uint32_t h = by_class ? locks_[held].of : held;
    const std::uint32_t l = by_class ? locks_[lock].of : lock;
    bool known = false;
    for (std::uint32_t k = locks_[h].first_edge; k != 0 && !known; k = edges_[k].next)
      known = edges_[k].to == l;
    if (known) continue;
    constexpr unsigned longest_cycle = 8;
    if (leads_to(l, h, longest_cycle)) {
      const described here{pc};
      m.fail(failure_kind::rule,
             "WARNING: possible circular locking dependency detected\n%s waits for %s at %s\n  "
             "and has %s, which is waited for elsewhere with the first one held%s",
             m.me().name, named{*this, lock}.text, here.text, named{*this, held}.text,
             h != held || l != lock ? " (these, or others of their classes)" : "");
    }
    if (edges_.full()) m.fail(failure_kind::limit, "too many orders of locks in one execution");
    edges_.push({l, locks_[h].first_edge});
    locks_[h].first_edge = static_cast<std::uint32_t>(edges_.size() - 1);
  }
}

void oracle::lock_acquired(std::uint64_t lock) noexcept {
  const process_id self = m.self;
  if (held_count_[self] == max_held) {
    m.fail(failure_kind::limit,
           "%s holds more than %u locks at once, which the machine does not keep apart: nest fewer",
           m.me().name, max_held);
  }
  held_[self][held_count_[self]++] = find_lock(lock);
}

void oracle::lock_release(std::uint64_t lock) noexcept {
  // Whoever holds it: a lock may be given back by another flow where the core allows it.
  const std::uint32_t l = find_lock(lock);
  const auto drop = [&](process_id p) {
    for (unsigned i = held_count_[p]; i > 0; --i) {
      if (held_[p][i - 1] != l) continue;
      std::memmove(&held_[p][i - 1], &held_[p][i], (held_count_[p] - i) * sizeof held_[p][0]);
      --held_count_[p];
      return true;
    }
    return false;
  };
  if (drop(m.self)) return;
  for (unsigned p = 0; p < m.process_count; ++p) {
    if (drop(static_cast<process_id>(p))) return;
  }
}

void oracle::forget_locks(std::uint64_t begin, std::uint64_t size) noexcept {
  for (lock_state& l : locks_) {
    if (l.lock - begin >= size) continue;
    // Its place in the orders of others stays, under no address.
    l.lock = 0;
  }
}

// --- RCU ---

void oracle::reader_enters(process_id p) noexcept {
  if (depth_[p]++ == 0) ++sections_[p];
}
void oracle::reader_leaves(process_id p) noexcept {
  if (depth_[p] != 0) --depth_[p];
}
process_id oracle::still_inside(const std::uint32_t* inside) const noexcept {
  for (unsigned p = 0; p < m.process_count; ++p) {
    if (inside[p] != 0 && depth_[p] != 0 && sections_[p] == inside[p])
      return static_cast<process_id>(p);
  }
  return no_process;
}
void oracle::grace_period_begins() noexcept {
  for (unsigned p = 0; p < m.process_count; ++p) inside_[p] = depth_[p] != 0 ? sections_[p] : 0;
}
void oracle::grace_period_ends() noexcept {
  const process_id p = still_inside(inside_);
  if (p == no_process) return;
  m.fail(failure_kind::rule,
         "BUG: a grace period ends while %s on cpu %u is in a read-side section that began "
         "before it",
         m.processes[p].name, m.processes[p].cpu);
}

oracle::grace_wait* oracle::find_wait(std::uint64_t who) noexcept {
  for (grace_wait& w : waits_) {
    if (w.who == who) return &w;
  }
  return nullptr;
}
void oracle::callback_queued(std::uint64_t head) noexcept {
  if (find_wait(head) != nullptr) {
    m.fail(failure_kind::rule,
           "BUG: an RCU callback is queued twice: its head %p waits for a grace period already",
           reinterpret_cast<void*>(head));
  }
  grace_wait_begins(head);
}
void oracle::grace_wait_begins(std::uint64_t who) noexcept {
  if (waits_.full()) m.fail(failure_kind::limit, "too many RCU callbacks in one execution");
  grace_wait& w = waits_.grow();
  w.who = who;
  for (unsigned p = 0; p < max_processes; ++p)
    w.inside[p] = p < m.process_count && depth_[p] != 0 ? sections_[p] : 0;
}
void oracle::grace_wait_ends(std::uint64_t who, const char* what) noexcept {
  grace_wait* const w = find_wait(who);
  if (w == nullptr) return;
  const process_id p = still_inside(w->inside);
  if (p != no_process) {
    m.fail(failure_kind::rule,
           "BUG: %s while %s on cpu %u is in a read-side section that began before", what,
           m.processes[p].name, m.processes[p].cpu);
  }
  *w = waits_.back();
  waits_.resize_down(waits_.size() - 1);
}

// --- fences ---

oracle::fence_state* oracle::find_fence(std::uint64_t fence) noexcept {
  for (std::size_t i = fences_.size(); i > 0; --i) {
    if (fences_[i - 1].fence == fence) return &fences_[i - 1];
  }
  return nullptr;
}

void oracle::fence_made(std::uint64_t fence, std::uint64_t context, std::uint64_t seqno) noexcept {
  if (fences_.full()) m.fail(failure_kind::limit, "too many fences in one execution");
  fences_.push({fence, context, seqno, false, false, 0});
}

void oracle::fence_answered(std::uint64_t fence) noexcept {
  if (fence_state* const f = find_fence(fence)) f->answered = true;
}

namespace {

/// Numbers of 32 bits begin again at 0; those of 64 bits have got beyond, or are not that far apart.
bool is_before(std::uint64_t a, std::uint64_t b) noexcept {
  if ((a | b) >> 32 == 0) return static_cast<std::int32_t>(a - b) < 0;
  return static_cast<std::int64_t>(a - b) < 0;
}

}  // namespace

void oracle::fence_signaled(std::uint64_t fence) noexcept {
  fence_state* const f = find_fence(fence);
  if (f == nullptr) return;
  if (f->signaled) {
    m.fail(failure_kind::rule, "BUG: fence %llu:%llu is signalled twice",
           static_cast<unsigned long long>(f->context), static_cast<unsigned long long>(f->seqno));
  }
  f->signaled = true;
  if (f->answered) return;
  for (context_state& c : contexts_) {
    if (c.context != f->context) continue;
    if (is_before(f->seqno, c.last)) {
      m.fail(failure_kind::rule,
             "BUG: fence %llu:%llu is signalled after %llu:%llu of the same timeline",
             static_cast<unsigned long long>(f->context), static_cast<unsigned long long>(f->seqno),
             static_cast<unsigned long long>(c.context), static_cast<unsigned long long>(c.last));
    }
    c.last = f->seqno;
    return;
  }
  if (!contexts_.full()) contexts_.push({f->context, f->seqno});
}

void oracle::fence_waited(std::uint64_t fence, bool begins, std::uintptr_t pc) noexcept {
  if (begins) wait_for_signalling(pc);
  fence_state* const f = find_fence(fence);
  if (f == nullptr) return;
  if (begins) {
    f->waiters |= just(m.self);
  } else {
    f->waiters &= ~just(m.self);
  }
}

void oracle::signalling_begins() noexcept { lock_acquired(signalling); }
void oracle::signalling_ends() noexcept { lock_release(signalling); }

void oracle::wait_for_signalling(std::uintptr_t pc) noexcept {
  const std::uint32_t l = find_lock(signalling);
  for (unsigned i = 0; i < held_count_[m.self]; ++i) {
    if (held_[m.self][i] != l) continue;
    const described here{pc};
    m.fail(failure_kind::rule,
           "BUG: %s waits for a fence inside of a signalling section, at %s: that fence may need "
           "this section to end",
           m.me().name, here.text);
  }
  order_behind_held(l, pc);
}

std::size_t oracle::describe_waits(char* text, std::size_t size) const noexcept {
  std::size_t used = 0;
  for (std::size_t i = 0; i < fences_.size(); ++i) {
    const fence_state& f = fences_[i];
    if (f.signaled || f.waiters == 0) continue;
    for (unsigned p = 0; p < m.process_count && used + 128 < size; ++p) {
      if ((f.waiters & just(static_cast<process_id>(p))) == 0) continue;
      used += static_cast<std::size_t>(std::snprintf(
          text + used, size - used, "  %s waits for fence %llu:%llu, which nobody signals\n",
          m.processes[p].name, static_cast<unsigned long long>(f.context),
          static_cast<unsigned long long>(f.seqno)));
    }
  }
  return used;
}

// --- ends ---

void oracle::task_ends(process_id p) noexcept {
  const process& t = m.processes[p];
  const cpu& c = m.cpus[t.cpu];
  const char* what = nullptr;
  if (held_count_[p] != 0) what = "holds a lock";
  if (depth_[p] != 0) what = "is inside of an RCU read-side section";
  if (t.preempt != 0) what = "has preemption disabled";
  if (c.irqs_off) what = "has interrupts off";
  if ((c.interrupts & softirq_bits) != 0) what = "has bottom halves disabled";
  if (what == nullptr) return;
  m.fail(failure_kind::rule, "BUG: a task that ends %s: %s on cpu %u", what, t.name, t.cpu);
}

}  // namespace interlock::machine
