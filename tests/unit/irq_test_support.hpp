// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What the tests of interrupts share: CPUs that spin, and lines on them.

#include <gtest/gtest.h>

#include "interlock/completion.hpp"
#include "interlock/interrupt.hpp"
#include "interlock/irqflags.hpp"
#include "support/report_recorder.hpp"
#include "support/tasks.hpp"

namespace interlock::test {

/// A CPU that does nothing but spin, and takes interrupts.
class spinning_cpu {
 public:
  spinning_cpu() {
    thread_ = start("spinner", [this] {
      id_ = online_cpu().value_or(cpu_id::none);
      // From here on it calls nothing, so nothing is served but by an interrupt.
      up_.store_release(1);
      while (stop_.load_relaxed() == 0) platform::cpu_relax();
    });
    EXPECT_TRUE(eventually([&] { return up_.load_acquire() != 0; }));
    EXPECT_NE(id_, cpu_id::none);
  }
  ~spinning_cpu() { end(); }
  spinning_cpu(const spinning_cpu&) = delete;
  spinning_cpu& operator=(const spinning_cpu&) = delete;

  void end() {
    stop_.store_relaxed(1);
    if (thread_.joinable()) thread_.join();
  }
  [[nodiscard]] cpu_id id() const { return id_; }

 private:
  atomic<std::uint32_t> up_{0};
  cpu_id id_ = cpu_id::none;
  atomic<std::uint32_t> stop_{0};
  kthread thread_;
};

[[nodiscard]] inline ref_ptr<irq_line> make_line(const irq_line_options& options) {
  result<ref_ptr<irq_line>> line = make_irq_line(options);
  EXPECT_TRUE(line.has_value()) << error_name(line ? error{} : line.error());
  return std::move(line).value_or(ref_ptr<irq_line>{});
}

/// On a CPU, by default the caller's.
[[nodiscard]] inline ref_ptr<irq_line> make_line_on(cpu_id cpu = cpu_id::none) {
  return make_line({.name = "test", .kind = irq_kind::asynchronous, .target = cpu});
}

template <class F>
[[nodiscard]] irq_action request(irq_line& line, F&& handler,
                                 const irq_request_options& options = {}) {
  result<irq_action> action = request_irq(line, std::forward<F>(handler), options);
  EXPECT_TRUE(action.has_value()) << error_name(action ? error{} : action.error());
  return std::move(action).value_or(irq_action{});
}

using counter = atomic<std::uint32_t>;

/// A handler that does nothing but count its runs, and claims them.
[[nodiscard]] inline irq_action count_runs(irq_line& line, counter& runs) {
  return request(line, [&runs] {
    runs.fetch_add_release(1);
    return irqreturn::handled;
  });
}

}  // namespace interlock::test
