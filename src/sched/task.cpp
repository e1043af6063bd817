// SPDX-License-Identifier: Apache-2.0

/// The life of tasks: made on first need, ended with their thread, kept by whoever counts on them.
///
/// Invariants:
///   I1. `task_words::task` owns one reference; the exit hook drops it and makes the state `dead`.
///   I2. A task in state `dead` never leaves it: no waker's mask contains it.
///   I3. A thread that needs a task after its exit hook (a destructor of another key that locks a
///       mutex) gets one that nothing will end. Its record is found by the address of the thread's
///       words, which only one thread at a time can have: the next such thread there drops it. So
///       there are as many as such addresses, not as such threads.
/// Contexts: tasks are made in task context only (malloc), unless handlers may allocate: then the
/// first that needs the task makes it, also that of an idle CPU.

#include <cstdlib>
#include <new>

#include "interlock_platform/lifecycle.hpp"
#include "interlock_platform/thread.hpp"
#include "report/report_lines.hpp"
#include "sched/task_impl.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {
namespace {

/// A mutex whose owner has ended is never unlocked: say so when it happens, not when one waits.
void check_no_locks_held(const task_words& self) noexcept {
  const std::uint32_t held = self.mutexes.load_relaxed();
  if (held == 0) return;
  report_text text;
  text << "WARNING: ";
  detail::put_self(text);
  text << " still has locks held!\n" << held << " lock" << (held == 1 ? "" : "s") << " held\n";
  submit_report(report_kind::mutex_misuse, text);
}

void end_task(task& t) noexcept {
  t.thread.store_relaxed(nullptr);
  t.word.store_release(static_cast<std::uint32_t>(task_state::dead));  // [X1] with [X2]
  intrusive_put(t);
}

void task_exit() noexcept {
  task_words& words = platform::this_task();
  check_no_locks_held(words);
  task* const self = static_cast<task*>(words.task.load_relaxed());
  if (self == nullptr) return;
  words.task.store_relaxed(nullptr);
  end_task(*self);
}

/// The forking thread lives on under a new id; the others are not there.
void fork_child() noexcept {
  if (task* const self = detail::task_if_any()) {
    self->id.store_relaxed(platform::this_task().id.load_relaxed());
    if (void* const control = self->thread.load_relaxed()) detail::kthread_fork_child(control);
  }
}

constinit platform::lifecycle_hook hook{
    .order = platform::hook_order::sched, .task_exit = task_exit, .fork_child = fork_child};

[[gnu::constructor]] void install_hook() noexcept { platform::add_lifecycle_hook(hook); }

struct late_task {
  const task_words* words;
  atomic<task*> last;
  late_task* next;
};
constinit atomic<late_task*> late_tasks{nullptr};  ///< only ever grows

/// I3. Without memory for the record `made` is never freed.
void keep_late_task(task& made) noexcept {
  const task_words* const words = &platform::this_task();
  late_task* const first = late_tasks.load_acquire();
  for (late_task* at = first; at != nullptr; at = at->next) {
    if (at->words != words) continue;
    end_task(*at->last.exchange_acq_rel(&made));
    return;
  }
  void* const memory = std::malloc(sizeof(late_task));
  if (memory == nullptr) return;
  auto* const record = new (memory) late_task{words, atomic<task*>{&made}, first};
  while (!late_tasks.compare_exchange_acq_rel(record->next, record)) {
  }
}

task& first_use() noexcept {
  if constexpr (!platform::handlers_may_allocate) {
    INTERLOCK_BUG_ON(!in_task() && "the first current_task() of a thread allocates");
  }
  task* const made = detail::make_task();
  INTERLOCK_BUG_ON(made == nullptr && "out of memory");
  if constexpr (platform::handlers_may_allocate) {  // one came in between, and needed it too
    if (task* const other = detail::task_if_any()) {
      barrier();  // the handler's writes
      intrusive_put(*made);
      return *other;
    }
  }
  platform::thread_name(made->name);
  detail::adopt_task(*made);
  const std::uint32_t life = platform::this_task().life.load_relaxed();
  if (life == static_cast<std::uint32_t>(task_life::dead)) keep_late_task(*made);
  return *made;
}

}  // namespace

namespace detail {

task* make_task() noexcept {
  void* const memory = std::malloc(sizeof(task));
  return memory != nullptr ? new (memory) task : nullptr;
}

void adopt_task(task& t) noexcept {
  platform::enlist();
  task_words& words = platform::this_task();
  t.id.store_relaxed(words.id.load_relaxed());
  if constexpr (platform::handlers_may_allocate) {
    barrier();  // what it halts finds the task whole
    auto* const before = static_cast<task*>(words.task.exchange_relaxed(&t));
    if (before != nullptr) {  // a kthread was interrupted at its start
      barrier();              // the handler's writes
      end_task(*before);
    }
  } else {
    words.task.store_relaxed(&t);
  }
}

}  // namespace detail

void intrusive_get(task& t) noexcept { t.references.get(); }

void intrusive_put(task& t) noexcept {
  if (!t.references.put()) return;
  t.~task();
  std::free(&t);
}

task& current_task() noexcept {
  task* const self = detail::task_if_any();
  return self != nullptr ? *self : first_use();
}

ref_ptr<task> current_task_ref() noexcept { return ref_ptr<task>::share(current_task()); }

std::uint32_t task_id(const task& t) noexcept { return t.id.load_relaxed(); }

const char* task_name(const task& t) noexcept { return t.name; }

task_state state_of(const task& t) noexcept {
  return static_cast<task_state>(t.word.load_acquire() & detail::state_mask);  // [X2] with [X1]
}

std::uint64_t wakeups_of(const task& t) noexcept { return t.wakeups.load_relaxed(); }

}  // namespace interlock::inline INTERLOCK_PLATFORM
