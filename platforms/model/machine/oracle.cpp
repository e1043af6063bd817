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

}  // namespace

void oracle::begin_execution() noexcept {
  locks_.clear();
  edges_.clear();
  edges_.grow();  // 0: none
  fences_.clear();
  contexts_.clear();
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
  if (locks_.full()) m.fail(failure_kind::limit, "too many locks in one execution");
  locks_.push({lock, 0, 0, 0, 0, 0});
  return static_cast<std::uint32_t>(locks_.size() - 1);
}

bool oracle::leads_to(std::uint32_t from, std::uint32_t to, unsigned depth) const noexcept {
  if (from == to) return true;
  if (depth == 0) return false;
  for (std::uint32_t i = locks_[from].first_edge; i != 0; i = edges_[i].next) {
    if (leads_to(edges_[i].to, to, depth - 1)) return true;
  }
  return false;
}

void oracle::check_masks(lock_state& l, bool attempt, std::uintptr_t pc) noexcept {
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
         "WARNING: inconsistent lock state\ninconsistent {%s-ON-W} -> {IN-%s-W} usage of lock %p\n "
         " in an interrupt: %s\n  with %s "
         "on: %s\nthe interrupt can come while the lock is held there, on the same CPU, and wait "
         "for it for ever",
         hard ? "HARDIRQ" : "SOFTIRQ", hard ? "HARDIRQ" : "SOFTIRQ",
         reinterpret_cast<void*>(l.lock), inside.text, hard ? "interrupts" : "bottom halves",
         outside.text);
}

void oracle::lock_acquire(std::uint64_t lock, bool sleeping, bool attempt,
                          std::uintptr_t pc) noexcept {
  const process_id self = m.self;
  const std::uint32_t l = find_lock(lock);
  if (!sleeping) check_masks(locks_[l], attempt, pc);
  if (attempt) return;  // it waits for nobody
  for (unsigned i = 0; i < held_count_[self]; ++i) {
    const std::uint32_t h = held_[self][i];
    if (h == l) continue;
    bool known = false;
    for (std::uint32_t k = locks_[h].first_edge; k != 0 && !known; k = edges_[k].next)
      known = edges_[k].to == l;
    if (known) continue;
    constexpr unsigned longest_cycle = 8;
    if (leads_to(l, h, longest_cycle)) {
      const described here{pc};
      m.fail(failure_kind::rule,
             "WARNING: possible circular locking dependency detected\n%s takes lock %p at %s\n  "
             "and holds lock %p, which is taken "
             "elsewhere with the first one held",
             m.me().name, reinterpret_cast<void*>(lock), here.text,
             reinterpret_cast<void*>(locks_[h].lock));
    }
    if (edges_.full()) m.fail(failure_kind::limit, "too many orders of locks in one execution");
    edges_.push({l, locks_[h].first_edge});
    locks_[h].first_edge = static_cast<std::uint32_t>(edges_.size() - 1);
  }
}

void oracle::lock_acquired(std::uint64_t lock) noexcept {
  const process_id self = m.self;
  if (held_count_[self] < max_held) held_[self][held_count_[self]++] = find_lock(lock);
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

// --- RCU ---

void oracle::reader_enters(process_id p) noexcept {
  if (depth_[p]++ == 0) ++sections_[p];
}
void oracle::reader_leaves(process_id p) noexcept {
  if (depth_[p] != 0) --depth_[p];
}
void oracle::grace_period_begins() noexcept {
  for (unsigned p = 0; p < m.process_count; ++p) inside_[p] = depth_[p] != 0 ? sections_[p] : 0;
}
void oracle::grace_period_ends() noexcept {
  for (unsigned p = 0; p < m.process_count; ++p) {
    if (inside_[p] == 0 || depth_[p] == 0 || sections_[p] != inside_[p]) continue;
    m.fail(failure_kind::rule,
           "BUG: a grace period ends while %s on cpu %u is in a read-side section that began "
           "before it",
           m.processes[p].name, m.processes[p].cpu);
  }
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

void oracle::fence_signaled(std::uint64_t fence) noexcept {
  fence_state* const f = find_fence(fence);
  if (f == nullptr || f->signaled) return;
  f->signaled = true;
  if (f->answered) return;
  for (context_state& c : contexts_) {
    if (c.context != f->context) continue;
    if (static_cast<std::int64_t>(f->seqno - c.last) < 0) {
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

void oracle::fence_waited(std::uint64_t fence, process_id by, bool begins) noexcept {
  fence_state* const f = find_fence(fence);
  if (f == nullptr) return;
  if (begins) {
    f->waiters |= just(by);
  } else {
    f->waiters &= ~just(by);
  }
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
