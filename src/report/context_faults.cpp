// SPDX-License-Identifier: Apache-2.0

/// Reports of unbalanced contexts, which the context layer notices and cannot print itself.

#include "report/report_lines.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::detail {
namespace {

struct fault_text {
  const char* condition;  ///< the kernel's own, where it has one
  const char* function;
};

fault_text describe(context_fault fault) noexcept {
  switch (fault) {
    case context_fault::preempt_underflow: return {"val > preempt_count()", "preempt_enable"};
    case context_fault::preempt_overflow:
      return {"(preempt_count() & PREEMPT_MASK) >= PREEMPT_MASK", "preempt_disable"};
    case context_fault::bh_underflow: return {"softirq_count() < cnt", "local_bh_enable"};
    case context_fault::bh_overflow:
      return {"softirq_count() + cnt > SOFTIRQ_MASK", "local_bh_disable"};
    case context_fault::bh_in_hardirq:
      return {"in_hardirq() || irqs_disabled()", "local_bh_enable"};
  }
  return {"context", "?"};
}

}  // namespace

void report_context_fault(context_fault fault) noexcept {
  const fault_text text = describe(fault);
  locks_warning(report_kind::context_imbalance, text.condition, text.function);
}

}  // namespace interlock::inline INTERLOCK_PLATFORM::detail
