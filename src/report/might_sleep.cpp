// SPDX-License-Identifier: Apache-2.0

/// The report of a sleep where none is allowed, in the words of the kernel's `__might_resched`.

#include "interlock/might_sleep.hpp"

#include "interlock_platform/park.hpp"
#include "report/report_lines.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::detail {
namespace {

constexpr ktime log_interval = std::chrono::seconds{1};

constinit atomic<std::int64_t> next_log_ns{INT64_MIN};

/// One report a second, so that a log stays readable; the count stays exact.
bool rate_limited() noexcept {
  if (current_report_action() != report_action::log) return false;
  const std::int64_t now = platform::now().time_since_epoch().count();
  std::int64_t next = next_log_ns.load_relaxed();
  return now < next || !next_log_ns.compare_exchange_relaxed(next, now + log_interval.count());
}

unsigned rcu_nesting() noexcept {
  return static_cast<unsigned>(platform::this_task().rcu.load_relaxed() & rcu_nesting_mask);
}

}  // namespace

void might_sleep_failed(location where) noexcept {
  if (rate_limited()) {
    count_report();
    return;
  }
  report_text text;
  text << "BUG: sleeping function called from invalid context at " << where << '\n'
       << "in_atomic(): " << int{in_atomic()} << ", irqs_disabled(): " << int{irqs_disabled()}
       << ", non_block: 0, pid: " << reporter_id() << ", name: ";
  put_name(text);
  text << "\npreempt_count: ";
  text.hex(preempt_count()) << ", expected: 0\n"
                            << "RCU nest depth: " << rcu_nesting() << ", expected: 0\n";
  put_atomic_places(text);
  submit_report(report_kind::sleep_in_atomic, text);
}

}  // namespace interlock::inline INTERLOCK_PLATFORM::detail
