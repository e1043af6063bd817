// SPDX-License-Identifier: Apache-2.0

/// Reports: assembled under one lock (the floor), delivered, and acted upon.
///
/// Invariants:
///   I1. `floor_word` holds the id of the thread that assembles or delivers a report, 0 when none.
///       A thread that finds its own id there reports from inside a report: it prints bare, and
///       neither waits nor calls the handler. So nothing recurses.
///   I2. Whoever waits for the floor gives up and prints bare: a reporter may wait for something (the
///       allocator) that the code below this interrupt holds. An interrupt waits `patience_in_irq` in
///       all. A task holds nothing that a reporter needs: it waits as long as the floor changes
///       hands, and gives up when one reporter kept it for `patience`.
///   I3. `assembly`, `handler` and `cookie` are touched with the floor only.
/// Ordering: [P1] take_floor acquires what [P2] give_floor released.
///           [P3] traversal of the sections acquires what [P4] add_report_section released.
/// Contexts: any, NMI included. Nothing here allocates; describe_address does, in tasks only.

#include "interlock/report.hpp"

#include <cstring>
#include <new>

#include "interlock/detail/context_hooks.hpp"
#include "interlock/options.hpp"
#include "interlock_platform/events.hpp"
#include "interlock_platform/lifecycle.hpp"
#include "interlock_platform/park.hpp"
#include "interlock_platform/stack_trace.hpp"
#include "report/report_lines.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {
namespace {

constexpr std::size_t frames_max = 32;
constexpr std::size_t assembly_size = 16 * 1024;
constexpr ktime patience = std::chrono::seconds{5};
constexpr ktime patience_in_irq = std::chrono::milliseconds{500};
constexpr int action_unset = -1;

constinit atomic<std::uint32_t> floor_word{0};
constinit atomic<std::uint32_t> turns{0};  // how often the floor was taken
constinit atomic<std::uint64_t> reports_made{0};
constinit atomic<int> action_word{action_unset};
constinit atomic<report_section*> sections{nullptr};
constinit report_handler handler = nullptr;
constinit void* cookie = nullptr;
constinit char assembly[assembly_size] = {};

struct request {
  report_kind kind;
  const char* text;
  std::size_t size;
  void* const* frames;
  std::size_t frame_count;
  bool fatal;
};

report_action option_action() noexcept {
  char value[8];
  if (!option_text("report", value, sizeof value)) return report_action::abort;
  if (std::strcmp(value, "log") == 0) return report_action::log;
  if (std::strcmp(value, "quiet") == 0) return report_action::quiet;
  return report_action::abort;
}

/// True with the floor. False: the report is nested (I1) or patience ran out (I2).
bool take_floor(std::uint32_t id) noexcept {
  const bool may_hold_them_up = !in_task();
  deadline until = no_deadline;
  std::uint32_t turn = 0;
  while (true) {
    std::uint32_t seen = 0;
    if (floor_word.compare_exchange_acquire(seen, id)) {  // [P1] pairs with [P2]
      turns.fetch_add_relaxed(1);
      return true;
    }
    if (seen == id) return false;
    const deadline now = platform::now();
    const std::uint32_t turn_now = turns.load_relaxed();
    if (until == no_deadline || (turn_now != turn && !may_hold_them_up)) {
      until = now + (may_hold_them_up ? patience_in_irq : patience);
      turn = turn_now;
    }
    if (now >= until) return false;
    platform::park(floor_word, seen, until, platform::park_scope::process,
                   platform::deadline_kind::watchdog);
  }
}

void give_floor() noexcept {
  floor_word.store_release(0);  // [P2] pairs with [P1]
  platform::unpark(floor_word, platform::unpark_all);
}

void put_stack(report_text& out, const request& what) noexcept {
  // Naming a line opens files and allocates: not in a handler.
  const bool may_allocate = in_task();
  out << "Call Trace:\n";
  for (std::size_t i = 0; i < what.frame_count; ++i) {
    char name[256];
    platform::describe_address(what.frames[i], may_allocate, name, sizeof name);
    out << " #" << i << ' ' << name << '\n';
  }
}

void assemble(report_text& out, const request& what) noexcept {
  out << what.text;
  if (what.size == 0 || what.text[what.size - 1] != '\n') out << '\n';
  for (report_section* s = sections.load_acquire(); s != nullptr; s = s->next) {  // [P3] with [P4]
    s->print(out);
  }
  out << "CPU: " << detail::reporter_cpu() << " PID: " << detail::reporter_id() << " Comm: ";
  detail::put_name(out);
  out << '\n';
  put_stack(out, what);
}

void print_bare(const request& what) noexcept { platform::console_write(what.text, what.size); }

void deliver(const request& what, report_action action) noexcept {
  report_text out{assembly, sizeof assembly};
  assemble(out, what);
  if (action == report_action::handler && handler != nullptr) {
    handler(report{what.kind, out.c_str(), out.size(), what.frames, what.frame_count}, cookie);
    if (!what.fatal) return;
  }
  platform::console_write(out.c_str(), out.size());
}

void submit(const request& what) noexcept {
  detail::count_report();
  const report_action action = detail::current_report_action();
  if (action == report_action::quiet && !what.fatal) return;
  const bool has_floor = take_floor(detail::reporter_id());
  if (has_floor) {
    deliver(what, action);
  } else {
    print_bare(what);
  }
  // The floor is kept: no other report mixes with the last one.
  const bool aborts = action == report_action::abort && !report_is_advice(what.kind);
  if (what.fatal || aborts) platform::die();
  if (has_floor) give_floor();
}

/// Captures the stack and drops the frames inside this layer, that is those before `caller`.
void submit_here(report_kind kind, const char* text, std::size_t size, bool fatal,
                 void* caller) noexcept {
  void* frames[frames_max];
  const std::size_t count = platform::capture_stack(frames, frames_max);
  std::size_t first = 0;
  while (first < count && frames[first] != caller) ++first;
  if (first == count) first = 0;
  submit({kind, text, size, frames + first, count - first, fatal});
}

/// Another thread that had the floor does not exist in the child; the forking one has a new id.
void fork_child() noexcept {
  const task_words& task = platform::this_task();
  const bool own = task.former_id != 0 && floor_word.load_relaxed() == task.former_id;
  floor_word.store_relaxed(own ? task.id.load_relaxed() : 0);
}

constinit platform::lifecycle_hook hook{.order = platform::hook_order::report,
                                        .fork_child = fork_child};

/// What a platform that judges has found.
void submit_finding(const platform::event::finding& found) noexcept {
  using rule = platform::event::finding::rule;
  report_kind kind = report_kind::lock_order;
  if (found.breach == rule::irq_state) kind = report_kind::lock_irq_state;
  if (found.breach == rule::limit) kind = report_kind::lock_validator_off;
  submit({kind, found.text, found.size, found.frames, found.frame_count, false});
}

[[gnu::constructor]] void install_hooks() noexcept {
  platform::event::set_finding_hook(submit_finding);
  platform::add_lifecycle_hook(hook);
  detail::set_fault_hook(detail::report_context_fault);
}

}  // namespace

namespace detail {

report_action current_report_action() noexcept {
  int action = action_word.load_relaxed();
  if (action == action_unset) [[unlikely]] {
    const int chosen = static_cast<int>(option_action());
    if (action_word.compare_exchange_relaxed(action, chosen)) action = chosen;
  }
  return static_cast<report_action>(action);
}

void count_report() noexcept { reports_made.fetch_add_relaxed(1); }

}  // namespace detail

void set_report_action(report_action action) noexcept {
  action_word.store_relaxed(static_cast<int>(action));
}

void set_report_handler(report_handler new_handler, void* new_cookie) noexcept {
  const bool has_floor = take_floor(detail::reporter_id());
  handler = new_handler;
  cookie = new_cookie;
  set_report_action(new_handler != nullptr ? report_action::handler : option_action());
  if (has_floor) give_floor();
}

std::uint64_t report_count() noexcept { return reports_made.load_relaxed(); }

void add_report_section(report_section& section) noexcept {
  section.next = sections.load_relaxed();
  while (!sections.compare_exchange_release(section.next, &section)) {  // [P4] pairs with [P3]
  }
}

void submit_report(report_kind kind, report_text& headline) noexcept {
  submit_here(kind, headline.c_str(), headline.size(), false, __builtin_return_address(0));
}

void submit_report(report_kind kind, const char* headline) noexcept {
  submit_here(kind, headline, std::strlen(headline), false, __builtin_return_address(0));
}

void submit_report(report_kind kind, report_text& headline, void* const* frames,
                   std::size_t frame_count) noexcept {
  submit({kind, headline.c_str(), headline.size(), frames, frame_count, false});
}

void submit_fatal_report(report_kind kind, report_text& headline) noexcept {
  submit_here(kind, headline.c_str(), headline.size(), true, __builtin_return_address(0));
  platform::die();
}

void bug_at(const char* condition, location where) noexcept {
  report_text text;
  text << "kernel BUG at " << where << "!\n"
       << "condition: " << condition << '\n';
  submit_here(report_kind::bug, text.c_str(), text.size(), true, __builtin_return_address(0));
  platform::die();
}

void warn_at(const char* condition, location where) noexcept {
  report_text text;
  detail::put_warning(text);
  text << where << ' ' << condition << '\n';
  submit_here(report_kind::warning, text.c_str(), text.size(), false, __builtin_return_address(0));
}

}  // namespace interlock::inline INTERLOCK_PLATFORM
