// SPDX-License-Identifier: Apache-2.0

/// The service CPU: one thread, "ilk-irq", that sleeps in a poller.
///
/// It is rung by waking the poller; no asynchronous interrupt halts it, only an NMI. Between two
/// sleeps it is in task context; lines, timers and nodes run as interrupts of its own CPU.
///
/// Invariants:
///   X1. `current` points to its descriptor exactly while others may ring it; `poll` is open as
///       long as somebody may be inside that descriptor's gate.
///   X2. `start_lock` covers starting and stopping.
///   X3. A node that finds no service CPU is on `orphans`; whoever put it there looks again whether
///       one has appeared, and one that appears looks at `orphans` first.
///   X4. While there is none, each operation of a task starts one if something needs it: orphans,
///       armed timers, lines with a descriptor. So neither a shutdown nor a fork, nor a start in an
///       interrupt, leaves a timer or a line unserved for ever.
/// Ordering (X3):
///   poster                                service CPU
///   push on orphans       [Z1]            publish current           [Z3]
///   read current          [Z2]            take orphans              [Z4]
///   null? it will look. else wake it
/// All seq_cst: not both can miss the other.

#include "irq/service.hpp"

#include <new>

#include "interlock/completion.hpp"
#include "interlock/kthread.hpp"
#include "interlock/mutex.hpp"
#include "interlock_platform/doorbell.hpp"
#include "interlock_platform/park.hpp"
#include "interlock_platform/poller.hpp"
#include "irq/lifecycle.hpp"
#include "irq/line.hpp"
#include "rcu/callbacks.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::detail {
namespace {

constexpr ktime ring_retry = std::chrono::milliseconds{1};

/// What the service CPU is asked to do besides its queue.
namespace asked {
constexpr std::uint32_t stop = 1u << 0;
constexpr std::uint32_t ring = 1u << 1;
constexpr std::uint32_t restart = 1u << 2;
}  // namespace asked

/// Never destroyed: at the end of the process the shutdown hook has emptied it, or nobody will.
union thread_slot {
  constexpr thread_slot() noexcept : nothing{} {}
  ~thread_slot() {}
  char nothing;
  kthread thread;
};

constinit mutex start_lock;
constinit atomic<cpu_descriptor*> current{nullptr};
constinit platform::poller poll;
constinit thread_slot slot;
constinit atomic<std::uint32_t> requests{0};
constinit llist_head orphans;

struct start_record {
  completion done;
  result<cpu_descriptor*> cpu{error::not_enough_memory};
};

void adopt_orphans() noexcept {
  if (orphans.empty()) return;
  llist_node* link = llist_reverse(orphans.take_all());  // [Z4] pairs with [Z1]
  while (link != nullptr) {
    cpu_node& node = *INTERLOCK_CONTAINER_OF(link, cpu_node, link);
    link = link->next;
    post_here(node);
  }
}

/// Rings where the OS refused. False if it refuses still; then the caller is to ask again, after a
/// pause: `ring_again` would ask at once, and so for ever.
bool repeat_rings() noexcept {
  bool all = true;
  guard g{rcu};
  for (cpu_descriptor* cpu = first_cpu(); cpu != nullptr; cpu = rcu_dereference(cpu->next)) {
    if (cpu->ring_failed.exchange_relaxed(0) == 0 || !enter_gate(*cpu)) continue;
    if (!platform::ring_doorbell(cpu->id, platform::doorbell::interrupt)) {
      cpu->ring_failed.store_relaxed(1);
      all = false;
    }
    leave_gate(*cpu);
  }
  return all;
}

struct next_round {
  deadline begin;
  platform::deadline_kind kind;
};

/// One round of everything; when to begin the next one.
next_round serve_round() noexcept {
  const std::uint32_t wanted = requests.fetch_and_acq_rel(asked::stop);
  adopt_orphans();
  replay();
  // What the OS refuses is asked for again after a pause, by a bit of our own thread's: it will not
  // miss it, and need not be woken for it.
  std::uint32_t refused = 0;
  if ((wanted & asked::restart) != 0 && !restart_threads()) refused |= asked::restart;
  next_round next{serve_timers(), platform::deadline_kind::timeout};
  start_worker_if_needed();  // callbacks of who could not start it
  if ((wanted & asked::ring) != 0 && !repeat_rings()) refused |= asked::ring;
  if (refused != 0) {
    requests.fetch_or_relaxed(refused);
    const deadline retry = platform::now() + ring_retry;
    if (retry < next.begin) next = {retry, platform::deadline_kind::watchdog};
  }
  return next;
}

/// The record lies on the starter's stack: not touched after `complete`.
bool announce(start_record& record) noexcept {
  record.cpu = add_this_cpu(true);
  const bool up = record.cpu.has_value();
  if (up) current.store_seq_cst(*record.cpu);  // [Z3] pairs with [Z2]
  record.done.complete();
  return up;
}

int service_main(void* argument) {
  if (!announce(*static_cast<start_record*>(argument))) return 0;
  constexpr std::size_t cookies_max = 32;
  std::uint64_t cookies[cookies_max];
  while ((requests.load_relaxed() & asked::stop) == 0) {
    const next_round next = serve_round();
    const std::size_t ready =
        platform::poller_wait(poll, cookies, cookies_max, next.begin, next.kind);
    for (std::size_t i = 0; i < ready; ++i) descriptor_is_ready(cookies[i]);
  }
  current.store_seq_cst(nullptr);
  // Closes the gate, and makes orphans of what is queued. Not left to the exit hook: a CPU need not
  // end with its task.
  platform::hold_doorbells();
  take_cpu_offline();
  platform::release_doorbells();
  return 0;
}

result<void> start() noexcept INTERLOCK_REQUIRES(start_lock) {
  result<platform::poller> opened = platform::open_poller();
  if (!opened) return opened.error();
  poll = *opened;
  start_record record;
  result<kthread> started = kthread_run_raw("ilk-irq", service_main, &record, nullptr);
  if (!started) {
    platform::close_poller(poll);
    return started.error();
  }
  std::construct_at(&slot.thread, std::move(*started));
  record.done.wait();
  if (!record.cpu) {
    (void)slot.thread.join();
    platform::close_poller(poll);
    return record.cpu.error();
  }
  watch_all_descriptors();
  return {};
}

/// Runs `function` with the service CPU held; false if there is none.
template <class F>
bool with_service(F function) noexcept {
  guard g{rcu};
  cpu_descriptor* const cpu = current.load_seq_cst();  // [Z2] pairs with [Z3]
  if (cpu == nullptr || !enter_gate(*cpu)) return false;
  function(*cpu);
  leave_gate(*cpu);
  return true;
}

/// X4.
bool is_needed() noexcept {
  return !orphans.empty() || (requests.load_relaxed() & asked::restart) != 0 || timers_wait() ||
         descriptors_wait();
}

void ask(std::uint32_t what) noexcept {
  if ((requests.fetch_or_release(what) & what) == 0) wake_service();
}

}  // namespace

result<cpu_id> require_service() noexcept {
  const cpu_descriptor* running = current.load_seq_cst();
  if (running == nullptr) {
    if (!sleep_allowed()) return error::resource_unavailable_try_again;
    guard g{start_lock};
    if (current.load_seq_cst() == nullptr) INTERLOCK_TRY(start());
  }
  guard g{rcu};
  running = current.load_seq_cst();
  if (running == nullptr) return error::resource_unavailable_try_again;  // stopped again
  return cpu_id{running->id};
}

void post_to_service(cpu_node& node) noexcept {
  rcu_read_lock();
  cpu_descriptor* const cpu = current.load_seq_cst();
  const bool here = cpu != nullptr && cpu == this_descriptor();
  const bool posted = cpu != nullptr && !here && post(*cpu, node);
  rcu_read_unlock();
  if (posted) return;
  if (here) {
    post_here(node);
    return;
  }
  orphans.push(node.link);  // [Z1] pairs with [Z4]
  wake_service();           // its look at `current` is [Z2]
  serve_orphans();
}

void serve_orphans() noexcept {
  if (current.load_seq_cst() != nullptr) [[likely]]
    return;
  if (platform::this_task().signalling_depth.load_relaxed() != 0) return;
  if ((requests.load_relaxed() & asked::stop) != 0 || !is_needed()) return;
  (void)require_service();
}

void serve_orphans_to_wait() noexcept {
  if (current.load_seq_cst() == nullptr && is_needed()) [[unlikely]]
    (void)require_service();
}

void wake_service() noexcept {
  (void)with_service([](cpu_descriptor&) { platform::poller_wake(poll); });
}

void ring_again_later() noexcept { ask(asked::ring); }

void restart_threads_later() noexcept { ask(asked::restart); }

result<void> watch_new_line(irq_line& line) noexcept {
  guard g{start_lock};  // so that a service CPU that starts now does not watch it too
  link_line(line);      // first: an event of an unknown line is dropped
  if (current.load_seq_cst() == nullptr) return {};
  return platform::poller_add(poll, line.fd, line.number);
}

void watch_again(int fd, std::uint64_t cookie) noexcept {
  (void)platform::poller_add(poll, fd, cookie);
}

void rearm_descriptor(int fd, std::uint64_t cookie) noexcept {
  (void)with_service([=](cpu_descriptor&) { (void)platform::poller_rearm(poll, fd, cookie); });
}

void unwatch_descriptor(int fd) noexcept {
  (void)with_service([=](cpu_descriptor&) { platform::poller_remove(poll, fd); });
}

void stop_service() noexcept {
  guard g{start_lock};
  if (current.load_seq_cst() == nullptr) return;
  ask(asked::stop);
  (void)slot.thread.join();
  platform::close_poller(poll);
  requests.fetch_and_relaxed(~asked::stop);
}

/// The poller is the parent's too, so it is closed, never changed. The thread's handle is
/// forgotten.
void service_fork_child() noexcept {
  std::construct_at(&start_lock, spinlock::remade{});
  drop_lines(orphans);
  current.store_seq_cst(nullptr);
  platform::close_poller(poll);
  requests.store_relaxed(0);
}

}  // namespace interlock::inline INTERLOCK_PLATFORM::detail
