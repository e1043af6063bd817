// SPDX-License-Identifier: Apache-2.0

/// Handlers: registered and freed, their threaded halves, and holding a line off.
///
/// Invariants:
///   M1. A line's list of actions and "shut down" change under `actions_lock`. An unlinked action
///       is freed after the run that may still look at it (U1 to U4) and after its thread.
///   M2. `half_woken` of an action is set by its line's runner only, of which there is one;
///       `threads_active`, and for oneshot the mask, are raised before it and lowered after the
///       half has run: a half cannot return before it was counted.
/// Ordering: [T1] woken releases, [T2] the thread acquires: the half sees what the handler did.

#include <cstdlib>
#include <cstring>
#include <new>

#include "interlock/might_sleep.hpp"
#include "interlock/mutex.hpp"
#include "irq/line.hpp"
#include "irq/service.hpp"
#include "irq/waiters.hpp"
#include "sched/task_impl.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {
namespace detail {
namespace {

namespace bits = line_state;
using control = irq_access::control;

constinit mutex actions_lock;
constinit irq_waiters waiters;

irqreturn wake_only(irq_line& /*line*/, void* /*cookie*/) { return irqreturn::wake_thread; }

void unmask_oneshot(irq_line& line) noexcept {
  (void)change(line, [](std::uint32_t state) { return state - bits::oneshot_one; });
}

/// The threaded half's turn is over.
void account_return(control& action) noexcept {
  action.half.fetch_and_relaxed(~half_running);
  if (action.oneshot) unmask_oneshot(action.line);
  action.line.threads_active.fetch_sub_seq_cst(1);
  waiters.wake();
}

/// False when it is time to end. A wake that came before the stop is still served: so the stop is
/// looked for first. The other way round both could come between the two looks.
bool wait_for_wake(control& action) noexcept {
  while (true) {
    set_current_state(task_interruptible);
    const bool stop = kthread_should_stop();  // acquires what the stopper has seen, [T1] included
    std::uint32_t expected = half_woken;
    const bool woken =
        action.half.compare_exchange_acquire(expected, half_running);  // [T2] pairs with [T1]
    if (!woken && !stop) {
      schedule();
      continue;
    }
    set_current_state_raw(task_running);
    return woken;
  }
}

int thread_main(void* argument) {
  control& action = *static_cast<control*>(argument);
  while (wait_for_wake(action)) {
    (void)action.thread_half(action.line, action.cookie);
    account_return(action);
  }
  return 0;
}

result<void> start_thread(control& action) noexcept {
  char name[16] = "irq/";
  std::memcpy(name + 4, action.name, sizeof name - 5);  // cut; `action.name` is longer
  result<kthread> started = kthread_run_raw(name, thread_main, &action, nullptr);
  if (!started) return started.error();
  action.thread = std::move(*started);
  return {};
}

void free_control(control* action) noexcept {
  if (action->destroy != nullptr) action->destroy(action->cookie);
  irq_line& line = action->line;
  action->~control();
  std::free(action);
  intrusive_put(line);
}

/// Pre: actions_lock. The last link of the list, or null if `action` may not join it.
atomic<control*>* place_for(irq_line& line, const control& action) noexcept {
  atomic<control*>* link = &line.actions;
  while (control* const other = link->load_relaxed()) {
    if (!other->shared || !action.shared) return nullptr;
    link = &other->next;
  }
  return link;
}

result<void> link_action(control& action) noexcept {
  irq_line& line = action.line;
  guard g{actions_lock};
  atomic<control*>* const link = place_for(line, action);
  if (link == nullptr) return error::device_or_resource_busy;
  if (action.thread_half != nullptr) INTERLOCK_TRY(start_thread(action));
  link->store_seq_cst(&action);
  (void)change(line, [](std::uint32_t state) { return state & ~bits::shut_down; });
  return {};
}

void unlink_action(control& action) noexcept {
  irq_line& line = action.line;
  guard g{actions_lock};
  atomic<control*>* link = &line.actions;
  while (link->load_relaxed() != &action) link = &link->load_relaxed()->next;
  control* const next = action.next.load_relaxed();
  link->store_seq_cst(next);  // [U1] pairs with [U4]
  if (line.actions.load_relaxed() != nullptr) return;
  (void)change(line, [](std::uint32_t state) { return state | bits::shut_down; });
}

void wait_for_handlers(irq_line& line, location where) noexcept {
  const std::uint32_t begun = line.started.load_seq_cst();  // [U2] pairs with [U3]
  const auto returned = [&] {
    return static_cast<std::int32_t>(line.returned.load_seq_cst() - begun) >= 0;
  };
  if (!returned()) waiters.wait(returned, where);
}

/// True, and reported, if the caller is the threaded half of `action`, or, where that is null, of any
/// handler of `line`.
bool is_own_thread(irq_line& line, const control* action, const char* function) noexcept {
  const task* const self = task_if_any();
  if (self == nullptr) return false;
  bool found = false;
  {
    guard g{actions_lock};
    for (control* a = line.actions.load_relaxed(); a != nullptr; a = a->next.load_relaxed()) {
      if (action != nullptr && a != action) continue;
      found = found || (a->thread.joinable() && &a->thread.get() == self);
    }
  }
  if (found) {
    report_text text;
    text << "irq " << line.number << ": " << function << " from its own threaded half\n";
    submit_report(report_kind::warning, text);
  }
  return found;
}

control* make_control(irq_line& line, irq_handler handler, irq_handler thread_half, void* cookie,
                      void (*destroy)(void*), const irq_request_options& options) noexcept {
  void* const memory = std::malloc(sizeof(control));
  if (memory == nullptr) return nullptr;
  intrusive_get(line);
  const bool thread_only = handler == nullptr;
  auto* const made =
      new (memory) control{line,
                           thread_only ? wake_only : handler,
                           thread_half,
                           cookie,
                           destroy,
                           options.shared,
                           thread_half != nullptr && (options.oneshot || thread_only)};
  std::strncpy(made->name, options.name != nullptr ? options.name : "handler",
               sizeof made->name - 1);
  return made;
}

}  // namespace

void wake_line_waiters() noexcept { waiters.wake(); }

void wake_thread_half(control& action) noexcept {
  if (action.thread_half == nullptr) {
    report_text text;
    text << "IRQ " << action.line.number << " device " << action.name
         << " returned IRQ_WAKE_THREAD but no thread function available.\n";
    submit_report(report_kind::warning, text);
    return;
  }
  if ((action.half.load_relaxed() & half_woken) != 0) return;  // one run serves both
  irq_line& line = action.line;
  line.thread_wakes.store_relaxed(line.thread_wakes.load_relaxed() + 1);
  line.threads_active.fetch_add_relaxed(1);  // M2
  if (action.oneshot) {
    (void)change(line, [](std::uint32_t state) { return state + bits::oneshot_one; });
  }
  action.half.fetch_or_release(half_woken);  // [T1] pairs with [T2]
  if (action.thread_lost.load_relaxed() != 0) {
    restart_threads_later();
  } else {
    (void)wake_up_process(action.thread.get());
  }
}

void reset_actions(irq_line& line) noexcept {
  // Somebody may have been between the list and the bit.
  const bool any = line.actions.load_relaxed() != nullptr;
  const std::uint32_t state = line.state.load_relaxed() & ~bits::shut_down;
  line.state.store_relaxed(state | (any ? 0 : bits::shut_down));
  for (control* a = line.actions.load_relaxed(); a != nullptr; a = a->next.load_relaxed()) {
    if (a->thread_half == nullptr) continue;
    std::construct_at(&a->thread);  // the handle of a thread that is not here cannot be joined
    a->thread_lost.store_relaxed(1);
    const std::uint32_t half = a->half.load_relaxed();
    if ((half & half_running) == 0) continue;
    // Cut short: it is run again. If it had been woken once more, one run serves both.
    if ((half & half_woken) != 0) line.threads_active.fetch_sub_relaxed(1);
    a->half.store_relaxed(half_woken);
  }
  for (control* a = line.actions.load_relaxed(); a != nullptr; a = a->next.load_relaxed()) {
    if (a->half.load_relaxed() != 0) restart_threads_later();
  }
}

bool start_lost_threads(irq_line& line) noexcept {
  bool all = true;
  guard g{actions_lock};
  for (control* a = line.actions.load_relaxed(); a != nullptr; a = a->next.load_relaxed()) {
    if (a->thread_lost.load_relaxed() == 0) continue;
    if (!start_thread(*a)) {
      all = false;
      continue;
    }
    a->thread_lost.store_relaxed(0);
    (void)wake_up_process(a->thread.get());
  }
  return all;
}

void actions_fork_child() noexcept {
  std::construct_at(&actions_lock, spinlock::remade{});
  std::construct_at(&waiters, spinlock::remade{});
}

}  // namespace detail

irq_action& irq_action::operator=(irq_action&& other) noexcept {
  if (this != &other) {
    if (control_ != nullptr) free();
    if (control_ != nullptr) return *this;  // refused: both stay as they are
    control_ = std::exchange(other.control_, nullptr);
  }
  return *this;
}

irq_action::~irq_action() {
  if (control_ != nullptr) free();
}

void irq_action::free() noexcept {
  if (control_ == nullptr) return;
  might_sleep();
  if (in_interrupt() || detail::is_own_thread(control_->line, control_, "free"))
    return;  // reported
  control* const action = std::exchange(control_, nullptr);
  detail::unlink_action(*action);
  detail::wait_for_handlers(action->line, location::current());
  if (action->thread.joinable()) {
    (void)action->thread.stop();
  } else if (action->half.load_relaxed() != 0) {
    detail::account_return(*action);  // lost in a fork: it will not run any more
  }
  detail::free_control(action);
}

result<irq_action> request_threaded_irq_raw(irq_line& line, irq_handler handler,
                                            irq_handler thread_half, void* cookie,
                                            void (*destroy)(void*),
                                            const irq_request_options& options) noexcept {
  might_sleep();
  error failure = error::invalid_argument;
  if (handler != nullptr || thread_half != nullptr) {
    auto* const action = detail::make_control(line, handler, thread_half, cookie, destroy, options);
    const result<void> linked =
        action != nullptr ? detail::link_action(*action) : error::not_enough_memory;
    if (linked) return irq_access::make(action);
    if (action != nullptr) {
      detail::free_control(action);
      return linked.error();
    }
    failure = linked.error();
  }
  if (destroy != nullptr) destroy(cookie);
  return failure;
}

void disable_irq_nosync(irq_line& line) noexcept {
  (void)detail::change(line, [](std::uint32_t state) {  // [U1] pairs with [U4]
    return state + detail::line_state::depth_one;
  });
}

void disable_irq(irq_line& line, location where) noexcept {
  might_sleep(where);
  disable_irq_nosync(line);
  synchronize_irq(line, where);
}

void enable_irq(irq_line& line) noexcept {
  namespace bits = detail::line_state;
  const detail::line_change made = detail::change(line, [](std::uint32_t state) {
    return (state & bits::depth_mask) != 0 ? state - bits::depth_one : state;
  });
  if ((made.before & bits::depth_mask) != 0) return;
  report_text text;
  text << "Unbalanced enable for IRQ " << line.number << '\n';
  submit_report(report_kind::context_imbalance, text);
}

void synchronize_irq(irq_line& line, location where) noexcept {
  might_sleep(where);
  if (in_interrupt() || detail::is_own_thread(line, nullptr, "synchronize")) return;  // reported
  detail::wait_for_handlers(line, where);
  if (line.threads_active.load_seq_cst() == 0) return;
  detail::waiters.wait([&] { return line.threads_active.load_seq_cst() == 0; }, where);
}

}  // namespace interlock::inline INTERLOCK_PLATFORM
