// SPDX-License-Identifier: Apache-2.0

/// Reports of RCU misuse, in the words of the kernel's where it has any; and the table of heads.
///
/// A head may share memory with anything until it is queued, so its contents prove nothing. The
/// table holds the addresses of the queued heads: open addressing within a window of `window`
/// slots.
///
/// Invariants: T1. An address stands in its window only. A full window leaves a head unchecked; so
///                 an error may be missed, and never is one invented.
///             T2. `note_invoked` comes before the callback, which may free the head.
/// Ordering:   none is needed. The calls for one head are ordered by the queue; two calls of
///             call_rcu that race for one head may both be missed, and corrupt the queue anyway.
/// Contexts:   any but NMI; no lock, no memory.

#include "rcu/misuse.hpp"

#include <cassert>

#include "context/restore.hpp"
#include "interlock/options.hpp"
#include "rcu/readers.hpp"
#include "report/report_lines.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::detail {
namespace {

constexpr std::size_t slots = std::size_t{1} << 16;
constexpr std::size_t window = 16;

constinit atomic<std::uintptr_t> table[slots]{};

/// True in builds with assertions, without a preprocessor conditional.
bool is_checked_build() noexcept {
  [[maybe_unused]] bool checked = false;
  assert((checked = true));
  return checked;
}

bool heads_are_checked() noexcept {
  const auto known = static_cast<head_checking>(head_checking_word.load_relaxed());
  if (known != head_checking::unknown) [[likely]]
    return known == head_checking::on;
  const bool on = option_integer("rcu_debug_heads", is_checked_build() ? 1 : 0) != 0;
  head_checking_word.store_relaxed(
      static_cast<std::uint32_t>(on ? head_checking::on : head_checking::off));
  return on;
}

std::uintptr_t address_of(const rcu_head& head) noexcept {
  return reinterpret_cast<std::uintptr_t>(&head);
}

/// The first slot of the window of `address`; windows are two cache lines. Fibonacci hashing.
atomic<std::uintptr_t>* window_of(std::uintptr_t address) noexcept {
  constexpr std::uint64_t golden = 0x9e37'79b9'7f4a'7c15u;
  const std::uint64_t hash = (std::uint64_t{address} >> 4) * golden;
  return table + (hash >> 52) * window;
}
static_assert((std::size_t{1} << 12) * window == slots);

void put_nesting(report_text& out) noexcept {
  out << "\nother info that might help us debug this:\n\nRCU nest depth: "
      << static_cast<unsigned>(platform::this_task().rcu.load_relaxed() & rcu_nesting_mask)
      << ", preempt_count: ";
  out.hex(preempt_count()) << ", irqs_disabled(): " << int{irqs_disabled()} << '\n';
}

void report_double_queue(const rcu_head& head) noexcept {
  report_text text;
  text << "call_rcu(): Double-freed CB 0x";
  text.hex(address_of(head)) << "!!!\nit is queued already, and its callback has not run yet\n";
  submit_report(report_kind::rcu_misuse, text);
}

}  // namespace

constinit atomic<std::uint32_t> head_checking_word{0};

void report_suspicious(location where, const char* what) noexcept {
  report_text text;
  text << "WARNING: suspicious RCU usage\n-----------------------------\n"
       << where << ' ' << what << '\n';
  put_nesting(text);
  submit_report(report_kind::rcu_misuse, text);
}

void rcu_dereference_outside_reader(location where) noexcept {
  report_suspicious(where, "suspicious rcu_dereference_check() usage!");
}

void report_unlock_underflow() noexcept {
  report_text text;
  text << "WARNING: bad unlock balance detected!\n-------------------------------------\n";
  put_self(text);
  text << " is trying to release lock (rcu_read_lock)\nbut there are no more locks to release!\n";
  submit_report(report_kind::context_imbalance, text);
}

void report_exit_in_reader() noexcept {
  report_text text;
  text << "WARNING: ";
  put_self(text);
  text << " still has locks held!\nits thread ends inside an RCU read-side critical section\n";
  submit_report(report_kind::rcu_misuse, text);
}

void report_fork_in_reader() noexcept {
  report_text text;
  text << "WARNING: suspicious RCU usage\n-----------------------------\n";
  put_self(text);
  text << " forks in an RCU read-side critical section!\n";
  put_nesting(text);
  submit_report(report_kind::rcu_misuse, text);
}

void report_null_callback(const rcu_head& head) noexcept {
  report_text text;
  text << "call_rcu(): CB 0x";
  text.hex(address_of(head)) << " without a function; it is not queued\n";
  submit_report(report_kind::rcu_misuse, text);
}

context_snapshot take_context_snapshot() noexcept {
  const cpu_words& cpu = platform::this_cpu();
  const task_words& task = platform::this_task();
  return {cpu.interrupt_count.load_relaxed(), task.preempt_depth.load_relaxed(),
          cpu.irqs_off.load_relaxed(),
          static_cast<std::uint32_t>(task.rcu.load_relaxed() & rcu_nesting_mask)};
}

void report_unbalanced_callback(void (*func)(rcu_head*), const context_snapshot& before) noexcept {
  const context_snapshot after = take_context_snapshot();
  report_text text;
  text << "WARNING: rcu callback 0x";
  text.hex(reinterpret_cast<std::uintptr_t>(func)) << " left the context unbalanced\n"
                                                   << "preempt_count: ";
  text.hex(after.interrupt_count | after.preempt_depth) << ", expected: ";
  text.hex(before.interrupt_count | before.preempt_depth)
      << "\nirqs_disabled(): " << after.irqs_off << ", expected: " << before.irqs_off
      << "\nRCU nest depth: " << after.rcu_nesting << ", expected: " << before.rcu_nesting << '\n';
  submit_report(report_kind::rcu_misuse, text);

  restore_preempt_count(before.interrupt_count | before.preempt_depth);
  (void)leave_all_readers();
  reenter_readers(before.rcu_nesting);
  if (after.irqs_off != 0 && before.irqs_off == 0) local_irq_enable();
}

bool note_queued_slow(const rcu_head& head) noexcept {
  if (!heads_are_checked()) return true;
  const std::uintptr_t address = address_of(head);
  atomic<std::uintptr_t>* const slot = window_of(address);
  for (std::size_t i = 0; i < window; ++i) {
    if (slot[i].load_relaxed() != address) continue;
    report_double_queue(head);
    return false;
  }
  for (std::size_t i = 0; i < window; ++i) {
    std::uintptr_t empty = 0;
    if (slot[i].load_relaxed() == 0 && slot[i].compare_exchange_relaxed(empty, address)) break;
  }
  return true;
}

void note_invoked_slow(const rcu_head& head) noexcept {
  if (!heads_are_checked()) return;
  const std::uintptr_t address = address_of(head);
  atomic<std::uintptr_t>* const slot = window_of(address);
  for (std::size_t i = 0; i < window; ++i) {
    if (slot[i].load_relaxed() == address) slot[i].store_relaxed(0);
  }
}

/// Reads first: most pages of the table have never been written, and need not be.
void forget_queued() noexcept {
  for (atomic<std::uintptr_t>& slot : table) {
    if (slot.load_relaxed() != 0) slot.store_relaxed(0);
  }
}

}  // namespace interlock::inline INTERLOCK_PLATFORM::detail
