// SPDX-License-Identifier: Apache-2.0

/// Lines: made, raised, run, moved. See line.hpp for the invariants N and the orders R and U.
///
/// Ordering: [A1] replaces the target, [A2] finds it, inside an RCU reader, which keeps it.

#include "irq/line.hpp"

#include <cstdlib>
#include <cstring>
#include <new>

#include "interlock/might_sleep.hpp"
#include "interlock/spinlock.hpp"
#include "interlock_platform/doorbell.hpp"
#include "interlock_platform/poller.hpp"
#include "irq/lifecycle.hpp"
#include "irq/service.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {
namespace detail {
namespace {

namespace bits = line_state;

constinit spinlock lines_lock;
constinit list_head lines INTERLOCK_GUARDED_BY(lines_lock){&lines, &lines};
constinit atomic<std::uint32_t> last_number{0};
constinit atomic<std::uint32_t> descriptor_lines{0};  ///< written under lines_lock

/// Pre: the line is linked.
void forget_descriptor(irq_line& line) noexcept INTERLOCK_REQUIRES(lines_lock) {
  if (line.fd < 0) return;
  line.fd = -1;
  descriptor_lines.store_relaxed(descriptor_lines.load_relaxed() - 1);
}

/// The descriptor first, while the caller still knows that it is open.
void dispose(irq_line& line) noexcept {
  if (line.fd >= 0) unwatch_descriptor(line.fd);
  {
    guard g{irqsave, lines_lock};
    forget_descriptor(line);
    list_del_init(line.all);
  }
  if (cpu_descriptor* const cpu = line.target.load_relaxed()) put_cpu_descriptor(*cpu);
  free_rcu(line.rcu, &line);
}

/// For good, unless irq_set_affinity says otherwise.
void move_to_service(irq_line& line, cpu_descriptor* ended) noexcept {
  if (in_nmi()) return;  // dropping the reference takes RCU; another raise will do it
  if (line.target.compare_exchange_acq_rel(ended, nullptr)) {  // [A1] pairs with [A2]
    put_cpu_descriptor(*ended);
  }
}

irqreturn ask(irq_line& line, irq_access::control& action) noexcept {
  const handler_context context = enter_handler();
  const irqreturn answer = action.handler(line, action.cookie);
  check_handler(context, "irq", action.name);
  if (answer != irqreturn::wake_thread) return answer;
  wake_thread_half(action);
  return irqreturn::handled;
}

void run_handlers(irq_line& line, bool readable) noexcept {
  if (readable && line.ack_fd) (void)platform::drain_event_fd(line.fd);
  bool claimed = false;
  for (auto* action = line.actions.load_seq_cst(); action != nullptr;  // [U4] pairs with [U1]
       action = action->next.load_seq_cst()) {                         // [U4] pairs with [U1]
    claimed = ask(line, *action) == irqreturn::handled || claimed;
  }
  note_run(line, claimed);
}

/// What is to be done in a run: serve the raise first, watch the descriptor again afterwards.
std::uint32_t begin(std::uint32_t state) noexcept {
  const std::uint32_t taken = state & ~bits::queued;
  if ((taken & bits::masked) != 0) return taken;  // whoever unmasks it queues it again
  if ((taken & bits::pending) != 0) {
    return (taken & ~(bits::pending | bits::readable)) | bits::in_progress;
  }
  if ((taken & bits::unarmed) != 0) return (taken & ~bits::unarmed) | bits::in_progress;
  return taken;
}

void run_line(cpu_node& node, bool gone) noexcept {
  irq_line& line = *INTERLOCK_CONTAINER_OF(&node, irq_line, node);
  if (gone) {
    cpu_descriptor* const ended = this_descriptor();
    if (ended != nullptr) move_to_service(line, ended);
    post_to_service(node);
    return;
  }
  line.started.fetch_add_seq_cst(1);            // [U3] pairs with [U2]
  const line_change run = change(line, begin);  // [R2] pairs with [R1]; [U4] with [U1]
  if ((run.after & bits::in_progress) != 0) {
    if ((run.before & bits::pending) != 0) {
      run_handlers(line, (run.before & bits::readable) != 0);
    } else {
      rearm_descriptor(line.fd, line.number);
    }
    change(line, [](std::uint32_t state) { return state & ~bits::in_progress; });
  }
  line.returned.fetch_add_seq_cst(1);  // [U3] pairs with [U2]
  wake_line_waiters();
  intrusive_put(line);  // the queue's
}

/// The CPU that `options` name, with a reference; null is the service CPU.
result<cpu_descriptor*> find_target(cpu_id wanted) noexcept {
  if (wanted == cpu_id::none) {
    const result<cpu_id> own = online_cpu();
    if (!own) return own.error();
    wanted = *own;
  }
  if (platform::doorbell_is_blocked(static_cast<std::uint32_t>(wanted),
                                    platform::doorbell::interrupt)) {
    return error::operation_not_permitted;
  }
  guard g{rcu};
  cpu_descriptor* const cpu = find_cpu(wanted);
  if (cpu == nullptr) return error::no_such_process;
  if (cpu->is_service) return nullptr;
  if (!cpu->references.get_unless_zero()) return error::no_such_process;
  return cpu;
}

}  // namespace

void link_line(irq_line& line) noexcept {
  guard g{irqsave, lines_lock};
  list_add_tail(line.all, lines);
  if (line.fd >= 0) descriptor_lines.store_relaxed(descriptor_lines.load_relaxed() + 1);
}

void keep_off_descriptor(irq_line& line) noexcept {
  guard g{irqsave, lines_lock};
  forget_descriptor(line);
}

bool descriptors_wait() noexcept { return descriptor_lines.load_relaxed() != 0; }

bool is_line(const cpu_node& node) noexcept { return node.run == run_line; }

void post_line(irq_line& line) noexcept {
  intrusive_get(line);  // the queue's
  rcu_read_lock();
  cpu_descriptor* const cpu = line.target.load_acquire();  // [A2] pairs with [A1]
  const bool here = cpu != nullptr && cpu == this_descriptor();
  const bool posted = cpu != nullptr && !here && post(*cpu, line.node);
  if (cpu != nullptr && !here && !posted) move_to_service(line, cpu);
  rcu_read_unlock();
  if (here) {
    post_here(line.node);
  } else if (!posted) {
    post_to_service(line.node);
  }
}

void descriptor_is_ready(std::uint64_t cookie) noexcept {
  irq_line* found = nullptr;
  {
    guard g{irqsave, lines_lock};
    for (list_head* at = lines.next; at != &lines && found == nullptr; at = at->next) {
      irq_line& line = *INTERLOCK_CONTAINER_OF(at, irq_line, all);
      if (line.number == cookie && line.references.get_unless_zero()) found = &line;
    }
  }
  if (found == nullptr) return;  // its last reference was dropped while the event was on its way
  found->raised.fetch_add_relaxed(1);
  (void)change(*found, [](std::uint32_t state) {  // [R1] pairs with [R2]
    return state | bits::pending | bits::unarmed | bits::readable;
  });
  intrusive_put(*found);
}

void watch_all_descriptors() noexcept {
  guard g{irqsave, lines_lock};
  for (list_head* at = lines.next; at != &lines; at = at->next) {
    irq_line& line = *INTERLOCK_CONTAINER_OF(at, irq_line, all);
    if (line.fd >= 0) watch_again(line.fd, line.number);
  }
}

bool restart_threads() noexcept {
  // Starting a thread sleeps, so the list is walked anew for each line.
  bool all = true;
  std::uint32_t done = 0;
  while (true) {
    irq_line* next = nullptr;
    {
      guard g{irqsave, lines_lock};
      for (list_head* at = lines.next; at != &lines && next == nullptr; at = at->next) {
        irq_line& line = *INTERLOCK_CONTAINER_OF(at, irq_line, all);
        if (line.number > done && line.references.get_unless_zero()) next = &line;
      }
    }
    if (next == nullptr) return all;
    done = next->number;
    all = start_lost_threads(*next) && all;
    intrusive_put(*next);
  }
}

void lines_fork_prepare() noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS { lines_lock.lock(no_mask); }

void lines_fork_parent() noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  lines_lock.unlock(no_mask);
}

/// Whoever ran or held a line's node is not in the child, so its queues drop the nodes.
void lines_fork_child_reset() noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  lines_lock.unlock(no_mask);
  actions_fork_child();
  for (list_head* at = lines.next; at != &lines; at = at->next) {
    irq_line& line = *INTERLOCK_CONTAINER_OF(at, irq_line, all);
    const std::uint32_t state = line.state.load_relaxed();
    const bool in_progress = (state & bits::in_progress) != 0;
    if ((state & (bits::queued | bits::in_progress)) != 0)
      line.references.count.fetch_sub_relaxed(1);
    if (line.references.read() == 0) forget_descriptor(line);  // only a queue had held it
    // A run that was cut short is done again.
    line.state.store_relaxed((state & ~(bits::queued | bits::in_progress)) |
                             (in_progress ? bits::pending : 0));
    line.returned.store_relaxed(line.started.load_relaxed());
    reset_actions(line);
  }
}

void lines_fork_child_resume() noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  for (list_head* at = lines.next; at != &lines; at = at->next) {
    irq_line& line = *INTERLOCK_CONTAINER_OF(at, irq_line, all);
    if (line.references.read() == 0) continue;  // only a queue had held it
    (void)change(line, [](std::uint32_t state) { return state; });
  }
}

}  // namespace detail

irq_line::irq_line(const irq_line_options& options, std::uint32_t line_number) noexcept
    : state{detail::line_state::shut_down},
      number{line_number},
      fd{options.fd},
      ack_fd{options.ack_fd},
      kind{options.kind} {
  list_init(all);
  node.run = detail::run_line;
  std::strncpy(name, options.name != nullptr ? options.name : "irq", sizeof name - 1);
  name[sizeof name - 1] = '\0';
}

void intrusive_get(irq_line& line) noexcept { line.references.get(); }

void intrusive_put(irq_line& line) noexcept {
  if (line.references.put()) detail::dispose(line);
}

result<ref_ptr<irq_line>> make_irq_line(const irq_line_options& options) noexcept {
  might_sleep();
  const bool asynchronous = options.kind == irq_kind::asynchronous;
  if (asynchronous && options.fd >= 0) return error::invalid_argument;
  if (const result<cpu_id> service = service_cpu(); !service) return service.error();
  detail::cpu_descriptor* target = nullptr;
  if (asynchronous) {
    result<detail::cpu_descriptor*> found = detail::find_target(options.target);
    if (!found) return found.error();
    target = *found;
  }
  void* const memory = std::malloc(sizeof(irq_line));
  if (memory == nullptr) {
    if (target != nullptr) detail::put_cpu_descriptor(*target);
    return error::not_enough_memory;
  }
  auto line = ref_ptr<irq_line>::adopt(
      new (memory) irq_line{options, detail::last_number.fetch_add_relaxed(1) + 1});
  line->target.store_relaxed(target);
  if (options.fd < 0) {
    detail::link_line(*line);
  } else if (const result<void> watched = detail::watch_new_line(*line); !watched) {
    detail::keep_off_descriptor(*line);
    return watched.error();
  }
  return line;
}

void raise_irq(irq_line& line) noexcept {
  line.raised.fetch_add_relaxed(1);
  (void)detail::change(line, [](std::uint32_t state) {  // [R1] pairs with [R2]
    return state | detail::line_state::pending;
  });
  detail::serve_orphans();
}

result<void> irq_set_affinity(irq_line& line, cpu_id target) noexcept {
  if (line.kind != irq_kind::asynchronous) return error::invalid_argument;
  result<detail::cpu_descriptor*> found = detail::find_target(target);
  if (!found) return found.error();
  detail::cpu_descriptor* const before =
      line.target.exchange_acq_rel(*found);  // [A1] pairs with [A2]
  if (before != nullptr) detail::put_cpu_descriptor(*before);
  return {};
}

irq_statistics irq_get_statistics(const irq_line& line) noexcept {
  return {line.raised.load_relaxed(), line.handled.load_relaxed(), line.spurious.load_relaxed(),
          line.thread_wakes.load_relaxed()};
}

const char* irq_line_name(const irq_line& line) noexcept { return line.name; }

}  // namespace interlock::inline INTERLOCK_PLATFORM
