// SPDX-License-Identifier: Apache-2.0

/// Callbacks: queued without a lock from any context, run by one worker thread in softirq context.
///
/// The worker takes what has arrived in all shards, waits for a grace period, runs it, naps so that
/// callbacks gather and grace periods stay rare, and begins again; with nothing to do it sleeps.
/// `attention` is the one word that a producer reads after its push; 0 means that it may go:
///
/// | bit | meaning                                                                               |
/// |-----|---------------------------------------------------------------------------------------|
/// | 0   | asleep: the worker may be parked on the word. May be set with it awake; never clear    |
/// |     | with it parked                                                                        |
/// | 1   | absent: no worker runs; the next operation of a task that may start it does           |
/// | 2   | flood: more than `rcu_backlog_max` are outstanding; set by producers, cleared by the  |
/// |     | worker at half of that                                                                |
/// | 3   | dozing: as asleep, but for a time only. Only rings hold something (free_rings.cpp),   |
/// |     | which their owners free while they go on; they do not wake it                         |
///
/// Starting the worker: that allocates and takes locks of libc, so it is not done in an interrupt, in
/// atomic context (somebody's spinlock), nor in a fence signalling section. A reader forbids it not:
/// nothing is locked there, and programs may drop their objects nowhere else. Where it is forbidden
/// the callback is queued and `absent` stays set, so that the next operation of RCU elsewhere, on any
/// thread, starts it, or the service CPU does; at the latest `shutdown` runs the callback. A handler
/// that Interlock does not know of (one
/// of sigaction) looks like a task: a program whose first call_rcu may come from such a handler
/// calls rcu_barrier() once before it installs it.
///
/// Invariants: I1. Callbacks of one task run in the order in which it queued them (one shard).
///             I2. Callbacks run under `callbacks_lock`, a bounded number at a time, so that a fork
///                 falls between two of them.
///             I3. Who may not sleep, reads, runs a callback, or is in a fence signalling section
///                 (for the backlog may wait for that fence), never waits for a backlog.
///             I4. One task at a time is between take and run (`process`): the worker, or with
///                 worker_lock held and no worker, another. Else one could run what the other took
///                 after the snapshot.
///             I5. Whoever finds worker_lock held and so cannot start the worker sets
///                 `start_wanted`; whoever drops the lock looks at it then.
/// Ordering: [C1]-[C4] see callback_queue.hpp.
///   [A1] a producer pushes, then reads `attention`; [A2] the worker sets `asleep` or `dozing`, then
///        looks for arrivals. All seq_cst: one of the two sees the other. For rings see [B5].
///   [A3] the worker clears `flood`, then changes `flood_ended`; [A4] a waiter reads `flood_ended`,
///        then `attention`. All seq_cst.
///   [A10] `start_wanted` is set, then the lock tried; [A11] the lock is dropped, then `start_wanted`
///        read. Full barriers between: not both can miss the other.
///   [A5] `bell` changes before it is unparked; the worker reads it before it looks for work.

#include "rcu/callbacks.hpp"

#include "interlock/options.hpp"
#include "interlock_platform/park.hpp"
#include "interlock_platform/thread.hpp"
#include "rcu/callback_queue.hpp"
#include "rcu/free_rings.hpp"
#include "rcu/grace_period.hpp"
#include "rcu/misuse.hpp"
#include "rcu/readers.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {
namespace detail {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr std::size_t shards = 8;
constexpr std::uint64_t backlog_check_interval = 64;
constexpr std::uint64_t chunk = 64;
constexpr long backlog_max_default = 100'000;
constexpr ktime nap = microseconds{200};
constexpr ktime doze = milliseconds{10};
constexpr ktime shutdown_patience = milliseconds{1000};
constexpr ktime start_retry = milliseconds{10};

using attention::absent;
using attention::asleep;
using attention::dozing;
using attention::flood;

constinit callback_queue queues[shards];

struct alignas(64) {
  atomic<std::uint32_t> bell{0};  // the worker naps on it
  atomic<std::uint32_t> stop{0};
  atomic<std::uint32_t> start_wanted{0};
  atomic<std::uint32_t> flood_ended{0};
  atomic<std::int64_t> give_up_at{INT64_MAX};
  atomic<std::int64_t> start_not_before{INT64_MIN};
  atomic<std::uint64_t> pushed_back{0};
  atomic<std::uint64_t> let_through{0};
} constinit service;

constinit short_lock callbacks_lock;
constinit short_lock worker_lock;
constinit platform::thread_handle worker INTERLOCK_GUARDED_BY(worker_lock){};
constinit bool has_worker INTERLOCK_GUARDED_BY(worker_lock) = false;  // it has not been joined yet
constinit const callback_queue* running INTERLOCK_GUARDED_BY(callbacks_lock) = nullptr;
constinit bool forker_in_callback = false;  // between fork_prepare and the end of the fork

std::uint32_t own_id() noexcept {
  const std::uint32_t id = platform::this_task().id.load_relaxed();
  if (id != 0) [[likely]]
    return id;
  platform::enlist();
  return platform::this_task().id.load_relaxed();
}

callback_queue& own_queue() noexcept { return queues[own_id() % shards]; }

// --- the backlog ---

std::uint64_t backlog_max() noexcept {
  static constinit atomic<std::uint64_t> known{0};
  std::uint64_t max = known.load_relaxed();
  if (max != 0) [[likely]]
    return max;
  const long chosen = option_integer("rcu_backlog_max", backlog_max_default);
  max = chosen > 0 ? static_cast<std::uint64_t>(chosen) : UINT64_MAX;
  known.store_relaxed(max);
  return max;
}

std::uint64_t outstanding() noexcept {
  const ring_counts rings =
      count_rings();  // first: what is moved meanwhile counts twice, not never
  std::uint64_t count = rings.kept - rings.freed;
  for (const callback_queue& q : queues) {
    const std::uint64_t invoked = q.invoked();  // first: it is never more than `queued`
    count += q.queued() - invoked;
  }
  return count;
}

void wake_worker() noexcept {
  if ((callbacks.attention.fetch_and_seq_cst(~(asleep | dozing)) & (asleep | dozing)) != 0) {
    platform::unpark(callbacks.attention, 1);
  }
}

void ring_bell() noexcept {
  service.bell.fetch_add_seq_cst(1);  // [A5]
  platform::unpark(service.bell, 1);
  if ((callbacks.attention.load_seq_cst() & dozing) != 0) wake_worker();
}

void end_flood() noexcept {
  if ((callbacks.attention.load_relaxed() & flood) == 0 || outstanding() > backlog_max() / 2)
    return;
  callbacks.attention.fetch_and_seq_cst(~flood);  // [A3] pairs with [A4]
  service.flood_ended.fetch_add_seq_cst(1);       // [A3]
  platform::unpark(service.flood_ended, platform::unpark_all);
}

// --- running callbacks ---

struct barrier_wait {
  struct marker {
    rcu_head head;  // first: the marker is found by it
    barrier_wait* of;
  };
  atomic<std::uint32_t> left{1};
  marker markers[shards];
};

void pass_marker(rcu_head* head) noexcept {
  barrier_wait* const wait = reinterpret_cast<barrier_wait::marker*>(head)->of;
  // The waiter returns, and its stack goes, as soon as it sees 0; unpark allows for that.
  if (wait->left.fetch_sub_release(1) == 1) platform::unpark(wait->left, 1);  // [C5] with [C6]
}

void pass_marker_callback(rcu_head* head) { pass_marker(head); }

void invoke(rcu_head& head) noexcept {
  if (is_freed_only(head)) {
    free_block_of(head);
    return;
  }
  note_invoked(head);
  platform::event::rcu_callback_invoked(&head);
  void (*const func)(rcu_head*) = head.func;
  const context_snapshot before = take_context_snapshot();
  func(&head);
  if (take_context_snapshot() != before) [[unlikely]]
    report_unbalanced_callback(func, before);
}

/// Softirq context, as a served softirq has it.
class serving_softirq {
 public:
  serving_softirq() noexcept {
    cpu_words& cpu = platform::this_cpu();
    cpu.interrupt_count.store_relaxed(cpu.interrupt_count.load_relaxed() + softirq_offset);
    platform::event::context_enter(softirq_offset);
    barrier();
  }
  serving_softirq(const serving_softirq&) = delete;
  serving_softirq& operator=(const serving_softirq&) = delete;
  ~serving_softirq() {
    barrier();
    cpu_words& cpu = platform::this_cpu();
    platform::event::context_exit(softirq_offset);
    cpu.interrupt_count.store_relaxed(cpu.interrupt_count.load_relaxed() - softirq_offset);
    barrier();
    if (cpu.softirq_pending.load_relaxed() != 0 && !in_interrupt()) replay_pending();
  }
};

/// Runs some of what was taken. True if more is left.
bool invoke_some(callback_queue& q) noexcept INTERLOCK_REQUIRES(callbacks_lock) {
  const serving_softirq context;
  callbacks.callback_task.store_relaxed(own_id());
  running = &q;
  rcu_head* head = nullptr;
  for (std::uint64_t done = 0; done < chunk && (head = q.pop()) != nullptr; ++done) {
    if (head->func == pass_marker_callback) {
      pass_marker(head);
      continue;
    }
    invoke(*head);
    q.count_invoked();  // each by itself: a callback may fork, and a marker's waiter finds all counted
  }
  callbacks.callback_task.store_relaxed(0);
  return q.has_taken();
}

void invoke_all() noexcept {
  for (callback_queue& q : queues) {
    bool more = true;
    while (more) {
      callbacks_lock.lock();
      more = invoke_some(q);
      // The lock is unfair; somebody who wants to fork shall not wait for the whole backlog.
      if (callbacks_lock.unlock()) platform::yield();
      end_flood();
    }
  }
}

/// A task that is halted inside its ring must not keep a shutdown from ending either.
bool time_is_up(const grace_period_wait& how) noexcept {
  if (how.give_up_at == nullptr) return false;
  const std::int64_t until = how.give_up_at->load_relaxed();
  return until != INT64_MAX && platform::now().time_since_epoch().count() >= until;
}

/// Takes what has arrived, waits for a grace period, runs it. False if the wait was given up.
bool process(const grace_period_wait& how, rings which) noexcept {
  empty_rings(which);
  bool any = false;
  {
    const short_guard guard{callbacks_lock};
    for (callback_queue& q : queues) {
      q.take_arrivals();
      any |= q.has_taken();
    }
  }
  const std::uint64_t wanted = callbacks.wanted.load_acquire();  // [A6] pairs with [A7]
  if (!wait_for_grace_period(any ? grace_period_snapshot() : wanted, how)) return false;
  invoke_all();
  end_flood();
  return !time_is_up(how) || !rings_hold_any();
}

bool queue_has_work() noexcept {
  for (const callback_queue& q : queues) {
    if (q.has_arrivals() || q.has_taken()) return true;  // [A2] pairs with [A1]
  }
  return !grace_period_reached(callbacks.wanted.load_seq_cst()) ||  // [A2]
         (callbacks.attention.load_relaxed() & flood) != 0;
}

bool has_work() noexcept { return queue_has_work() || rings_hold_any(); }

// --- the worker ---

void worker_sleep() noexcept {
  const std::uint32_t seen =
      callbacks.attention.fetch_or_seq_cst(asleep) | asleep;  // [A2] with [A1]
  smp_mb();                                                   // [B5]
  if (rings_exist()) platform::heavy_barrier();               // [A2] for the rings: [B5]
  if (!has_work() && service.stop.load_seq_cst() == 0) {
    platform::park(callbacks.attention, seen, no_deadline);
  }
  callbacks.attention.fetch_and_relaxed(~asleep);
}

void worker_doze() noexcept {
  const std::uint32_t seen =
      callbacks.attention.fetch_or_seq_cst(dozing) | dozing;  // [A2] with [A1]
  if (!queue_has_work() && service.stop.load_seq_cst() == 0) {
    platform::park(callbacks.attention, seen, platform::now() + doze, platform::park_scope::process,
                   platform::deadline_kind::watchdog);
  }
  callbacks.attention.fetch_and_relaxed(~dozing);
}

/// From now on nobody serves callbacks; whoever waits for that sees it.
void leave_post() noexcept {
  callbacks.attention.fetch_or_seq_cst(absent);
  service.flood_ended.fetch_add_seq_cst(1);  // [A3]
  platform::unpark(service.flood_ended, platform::unpark_all);
}

void worker_main(void*) noexcept {
  while (true) {
    const std::uint32_t rung = service.bell.load_acquire();  // [A5]
    const bool stop = service.stop.load_acquire() != 0;      // [A8] pairs with [A9]
    if (!has_work()) {
      if (stop) return;
      worker_sleep();
      continue;
    }
    const bool flooded = (callbacks.attention.load_relaxed() & flood) != 0;
    if (!process({.quick = flooded, .give_up_at = &service.give_up_at},
                 flooded || stop ? rings::all : rings::that_stand_still)) {
      leave_post();
      return;
    }
    if (flooded) continue;
    if (!stop && !queue_has_work() && rings_hold_any()) {
      worker_doze();
    } else {
      platform::park(service.bell, rung, platform::now() + nap);
    }
  }
}

/// No interrupt, no spinlock, no signalling section; a reader may.
bool may_start_worker() noexcept {
  return preemptible() && platform::this_task().signalling_depth.load_relaxed() == 0;
}

void join_worker() noexcept INTERLOCK_REQUIRES(worker_lock) {
  if (has_worker) platform::join(worker);
  has_worker = false;
}

/// Pre: may_start_worker(). A failure is tried again later, by whoever comes then.
void start_worker_locked() noexcept INTERLOCK_REQUIRES(worker_lock) {
  const std::int64_t now = platform::now().time_since_epoch().count();
  if ((callbacks.attention.load_relaxed() & absent) == 0) return;
  if (now < service.start_not_before.load_relaxed()) return;
  join_worker();  // one that gave up
  const result<platform::thread_handle> started =
      platform::spawn([](void* argument) { worker_main(argument); }, nullptr, "ilk-rcu");
  if (!started) {
    service.start_not_before.store_relaxed(now + start_retry.count());
    return;
  }
  worker = *started;
  has_worker = true;
  callbacks.attention.fetch_and_seq_cst(~absent);
}

/// Leaves it to the holder of the lock if there is one, without waiting (I5).
void start_worker() noexcept {
  service.start_wanted.store_relaxed(1);
  smp_mb();  // [A10] pairs with [A11]
  while (service.start_wanted.load_relaxed() != 0) {
    if (!worker_lock.try_lock()) return;
    service.start_wanted.store_relaxed(0);
    start_worker_locked();
    worker_lock.unlock();
    smp_mb();  // [A11] pairs with [A10]
  }
}

/// Context: task, may sleep.
class INTERLOCK_SCOPED_CAPABILITY worker_guard {
 public:
  worker_guard() noexcept INTERLOCK_ACQUIRE(worker_lock) { worker_lock.lock(); }
  worker_guard(const worker_guard&) = delete;
  worker_guard& operator=(const worker_guard&) = delete;
  ~worker_guard() INTERLOCK_RELEASE() {
    worker_lock.unlock();
    smp_mb();  // [A11] pairs with [A10]
    if (service.start_wanted.load_relaxed() != 0 && has_work()) start_worker();
  }
};

/// True if a worker runs, after having started it, or having waited for who does.
/// Context: task, may sleep.
bool worker_runs() noexcept {
  if ((callbacks.attention.load_relaxed() & absent) == 0) return true;
  const worker_guard guard;
  start_worker_locked();
  return (callbacks.attention.load_relaxed() & absent) == 0;
}

/// Makes the caller wait until the worker has caught up, if its context allows (I3) and there is
/// one.
void push_back() noexcept {
  const bool may_wait =
      sleep_allowed() && may_start_worker() && !in_rcu_callback() && worker_runs();
  if (!may_wait) {
    service.let_through.fetch_add_relaxed(1);
    return;
  }
  service.pushed_back.fetch_add_relaxed(1);
  while (true) {
    const std::uint32_t seen = service.flood_ended.load_seq_cst();       // [A4] pairs with [A3]
    const std::uint32_t attention = callbacks.attention.load_seq_cst();  // [A4]
    if ((attention & flood) == 0 || (attention & absent) != 0) return;   // nobody would end it
    platform::park(service.flood_ended, seen, no_deadline);
  }
}

/// Runs what is queued on the calling task, as far as readers leave in time.
void run_callbacks_here(const grace_period_wait& how) noexcept INTERLOCK_REQUIRES(worker_lock) {
  while (has_work()) {
    if (!process(how, rings::all)) return;
    if (rings_hold_any()) platform::yield();  // of who is inside
  }
}

/// For a barrier when no thread could be started, or has just been stopped.
void run_callbacks_without_worker() noexcept {
  const worker_guard guard;
  if ((callbacks.attention.load_relaxed() & absent) != 0) run_callbacks_here({});
}

void stop_worker() noexcept INTERLOCK_REQUIRES(worker_lock) {
  if (!has_worker) return;
  service.stop.store_seq_cst(1);  // [A9] pairs with [A8]
  wake_worker();
  ring_bell();
  grace_period_nudge();
  join_worker();
  service.stop.store_relaxed(0);
  leave_post();
}

}  // namespace

constinit callbacks_state callbacks{atomic{absent}, atomic<std::uint32_t>{0},
                                    atomic<std::uint64_t>{0}};

bool in_rcu_callback() noexcept {
  const std::uint32_t id = platform::this_task().id.load_relaxed();
  return id != 0 && callbacks.callback_task.load_relaxed() == id;
}

void request_grace_period(std::uint64_t snapshot) noexcept {
  std::uint64_t seen = callbacks.wanted.load_relaxed();
  while (seen < snapshot &&
         !callbacks.wanted.compare_exchange_seq_cst(seen, snapshot)) {  // [A7], [A1]
  }
  attend_to_callbacks(flood);  // [A1]
}

std::uint64_t enqueue(rcu_head& head) noexcept {
  callback_queue& q = own_queue();
  const std::uint64_t count = q.count_queued(1);
  q.push(head);  // [C1]
  if (count % backlog_check_interval == 0) look_at_backlog();
  attend_to_callbacks();
  return count;
}

void enqueue_chain(rcu_head& newest, rcu_head& oldest, std::uint64_t count) noexcept {
  callback_queue& q = own_queue();
  (void)q.count_queued(count);
  q.push(newest, oldest);  // [C1]
}

void attend(std::uint32_t seen) noexcept {
  if ((seen & (asleep | dozing)) != 0) wake_worker();
  if ((seen & absent) != 0 && may_start_worker()) start_worker();
  if ((seen & flood) != 0) push_back();
}

void look_at_backlog() noexcept {
  if (outstanding() <= backlog_max()) return;
  if ((callbacks.attention.fetch_or_seq_cst(flood) & flood) == 0) ring_bell();
}

void start_worker_if_needed() noexcept {
  const std::uint32_t attention = callbacks.attention.load_relaxed();
  if ((attention & absent) != 0 && may_start_worker() && has_work()) start_worker();
}

void wait_for_callbacks() noexcept {
  free_own_ring();
  empty_rings_and_wait();
  barrier_wait wait;
  for (std::size_t i = 0; i < shards; ++i) {
    callback_queue& q = queues[i];
    const std::uint64_t invoked = q.invoked();  // [C4] pairs with [C3]
    if (invoked == q.queued()) continue;
    wait.markers[i] = {{nullptr, pass_marker_callback}, &wait};
    wait.left.fetch_add_relaxed(1);
    q.push(wait.markers[i].head);
  }
  std::uint32_t left = wait.left.fetch_sub_acq_rel(1) - 1;
  if (left == 0) return;
  ring_bell();
  attend_to_callbacks(flood);                       // [A1]
  while ((left = wait.left.load_acquire()) != 0) {  // [C6] pairs with [C5]
    if ((callbacks.attention.load_relaxed() & absent) != 0) {
      run_callbacks_without_worker();
    } else {
      platform::park(wait.left, left, no_deadline);
    }
  }
}

void read_callback_statistics(rcu_statistics& out) noexcept {
  const ring_counts rings = count_rings();  // first, as in outstanding()
  out.callbacks_invoked = rings.freed;
  out.callbacks_queued = rings.kept;
  for (const callback_queue& q : queues) {
    out.callbacks_invoked += q.invoked();
    out.callbacks_queued += q.queued();
  }
  out.callers_pushed_back = service.pushed_back.load_relaxed();
  out.callers_let_through = service.let_through.load_relaxed();
}

// --- lifecycle ---

void callbacks_fork_prepare() noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {  // until fork_parent
  forker_in_callback = in_rcu_callback();
  if (!forker_in_callback) callbacks_lock.lock();
  rings_fork_prepare();
}

void callbacks_fork_parent() noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  rings_fork_parent();
  if (!forker_in_callback) callbacks_lock.unlock();
}

/// Keeps the queued callbacks, which run on the child's copy. Markers go: who waited is not there,
/// nor is the stack they lie on.
void callbacks_fork_child() noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  forget_queued();
  rings_fork_child();
  for (callback_queue& q : queues) {
    q.take_arrivals();
    rcu_head* first = nullptr;
    rcu_head** link = &first;
    rcu_head* last = nullptr;
    std::uint64_t count = 0;
    while (rcu_head* const head = q.pop()) {
      if (head->func == pass_marker_callback) continue;
      (void)note_queued(*head);
      *link = last = head;
      link = &head->next;
      ++count;
    }
    *link = nullptr;
    q.put_back(first, last);
    const bool one_runs = forker_in_callback && running == &q;  // to be counted when it returns
    q.recount(count + (one_runs ? 1 : 0));
  }
  service.stop.store_relaxed(0);
  service.start_wanted.store_relaxed(0);
  service.give_up_at.store_relaxed(INT64_MAX);  // a shutdown of the parent's
  worker_lock.reset();
  if (forker_in_callback) {  // it is the worker, and goes on as that
    callbacks.callback_task.store_relaxed(own_id());
    return;
  }
  has_worker = false;
  service.bell.store_relaxed(0);
  service.flood_ended.store_relaxed(0);
  callbacks_lock.reset();
  callbacks.callback_task.store_relaxed(0);
  callbacks.attention.store_relaxed(absent);
}

/// A reader that never leaves must not keep the process from ending: after a second what is queued
/// stays queued, and runs if RCU is used again.
void callbacks_shutdown() noexcept {
  if (in_rcu_callback()) {
    report_suspicious(location::current(), "shutdown in an RCU callback!");
    return;
  }
  if (rcu_read_lock_held()) {
    report_suspicious(location::current(), "shutdown in RCU read-side critical section!");
  }
  const worker_guard guard;
  const deadline until = platform::now() + shutdown_patience;
  service.give_up_at.store_relaxed(until.time_since_epoch().count());
  stop_worker();
  if (!rcu_read_lock_held()) run_callbacks_here({.give_up_at = &service.give_up_at});
  shrink_rings();
  service.give_up_at.store_relaxed(INT64_MAX);
}

}  // namespace detail

void call_rcu(rcu_head& head, void (*func)(rcu_head* head)) noexcept {
  if (func == nullptr) [[unlikely]] {
    detail::report_null_callback(head);
    return;
  }
  if (detail::prepare(head, func)) (void)detail::enqueue(head);
}

}  // namespace interlock::inline INTERLOCK_PLATFORM
