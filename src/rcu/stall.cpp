// SPDX-License-Identifier: Apache-2.0

/// The stall report, in the kernel's words: which readers, since when, and the stack of the first.

#include "rcu/stall.hpp"

#include "interlock/options.hpp"
#include "interlock/report.hpp"
#include "interlock_platform/park.hpp"
#include "rcu/grace_period.hpp"
#include "rcu/readers.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::detail {
namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;

constexpr long stall_ms_default = 21000;

constinit atomic<std::uint64_t> stalls{0};
constinit atomic<long> stall_ms{-1};

ktime stall_timeout() noexcept {
  long ms = stall_ms.load_relaxed();
  if (ms < 0) {
    const long chosen = option_integer("rcu_stall_ms", stall_ms_default);
    ms = chosen < 0 ? 0 : chosen;
    stall_ms.store_relaxed(ms);
  }
  return milliseconds{ms};
}

void put_reader(report_text& out, const stalled_reader& reader) noexcept {
  if (reader.id == 0) {
    out << "\ta reader in a signal handler, or on a thread that ends\n";
    return;
  }
  out << "\tTasks blocked: P" << reader.id << " \"" << reader.name
      << "\", RCU nest depth: " << reader.nesting << '\n';
}

/// False if the readers have left meanwhile.
bool report_stall(std::uint64_t target, ktime lasted) noexcept {
  stalled_readers found;
  find_stalled_readers(target, found);
  if (found.count == 0) return false;
  report_text text;
  text << "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:\n";
  for (std::size_t i = 0; i < found.count; ++i) put_reader(text, found.list[i]);
  if (found.more) text << "\t...\n";
  text << "\t(grace period " << grace_periods_completed() << " lasts for "
       << static_cast<unsigned long>(duration_cast<milliseconds>(lasted).count()) << " ms)\n"
       << (found.frame_count != 0 ? "the first one's stack follows\n" : "no stack: no answer\n");
  submit_report(report_kind::rcu_stall, text, found.frames, found.frame_count);
  return true;
}

}  // namespace

void stall_watch::check(deadline now, std::uint64_t target) noexcept {
  if (next_ == no_deadline) {
    interval_ = stall_timeout();
    if (interval_ == ktime::zero()) return;
    began_ = now;
    next_ = now + interval_;
  }
  if (now < next_) return;
  if (report_stall(target, now - began_)) stalls.fetch_add_relaxed(1);
  interval_ *= 3;
  next_ = platform::now() + interval_;  // a report itself takes time
}

std::uint64_t stalls_reported() noexcept { return stalls.load_relaxed(); }

}  // namespace interlock::inline INTERLOCK_PLATFORM::detail
