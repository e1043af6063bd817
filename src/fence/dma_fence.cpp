// SPDX-License-Identifier: Apache-2.0

/// The fence itself: signal, arm, callbacks, status, the end.
///
/// Invariants: I1 to I4 of the header, and
///   I5. `detach_ops` never changes: it is set by the constructor from the table, so that signal
///       does not read the table. After the flag is set, the maker's module may be gone.
///   I6. The timestamp in the union is written under `lock` only, and only while the flag
///       `timestamp` is clear and the list is detached. So there is one writer (I4), also where a
///       fence is signalled without the lock and two threads ask for its time at once.
///   I7. While somebody holds `lock` of a fence that is armed, nobody else signals it. While it is
///       armed and not signalled, its ops stay.
///   I8. `sleepers` implies `enable_signal`: who signals a fence with sleepers takes the lock.
/// Ordering:
///   [E1] signal without the lock: compare-and-swap from a word without `enable_signal`
///   [E2] arm: fetch-or of `enable_signal`; under the lock, if a callback shall follow or an op be
///        called. Who finds it set, under the lock, needs no modification of his own (I7).
///   Both change `flags`, whose modifications have one order:
///     E1 first: E2 returns `signaled`; the armer adds nothing, and tells its caller.
///     E2 first: E1 fails, sees `enable_signal` and takes the lock: by then the armer has added its
///               callback, or given the lock up without one.
///   So no callback is lost, and none is added to a list that has been run.
///   [E3] E1, and the fetch-or of signal under the lock, release what the work wrote and the error;
///   [E4] the acquire loads of `flags`, and E2, acquire it.
///   [E5] the flag `timestamp` releases the timestamp, [E6] its reader acquires it. Signal under the
///        lock sets both flags at once.
///   [E8] `sleepers` is read from the very modification of `flags` that signals: see
///        dma_fence_wait.cpp.
///   [E7] detaching releases the flag: who finds no ops, finds `signaled`.  [D1] acquires it.
/// Contexts: any but NMI; nothing here sleeps or allocates, but dma_fence_make_signaled.

#include "interlock/dma_fence.hpp"

#include <cstdlib>
#include <new>

#include "fence/fence_report.hpp"
#include "fence/fence_waiter.hpp"
#include "interlock_platform/park.hpp"
#include "irq/service.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {
namespace {

namespace flag = dma_fence_flag;

constexpr std::uint32_t core_flags =
    flag::signaled | flag::timestamp | flag::enable_signal | flag::detach_ops | flag::sleepers;
constexpr std::uint32_t needs_lock = flag::signaled | flag::enable_signal | flag::want_timestamp;

constexpr char detached_driver[] = "signaled-driver";
constexpr char detached_timeline[] = "signaled-timeline";

constinit atomic<std::uint64_t> next_context{1};

std::int64_t now_ns() noexcept { return platform::now().time_since_epoch().count(); }

/// A fence has become signalled, by this caller.
void finish_signal(dma_fence& fence, std::uint32_t flags) noexcept {
  platform::event::fence_signaled(&fence);
  if ((flags & flag::detach_ops) != 0) {
    rcu_assign_pointer(fence.ops, nullptr);  // [E7] pairs with [D1]
  }
}

/// False if some are left, since `wakes` is full: then the caller flushes it, and calls again.
bool run_callbacks(dma_fence& fence, list_head& callbacks, detail::pending_wakes& wakes) noexcept
    INTERLOCK_REQUIRES(fence.lock) {
  while (!list_empty(callbacks)) {
    if (wakes.is_full()) return false;
    dma_fence_cb* const cb = INTERLOCK_CONTAINER_OF(callbacks.next, dma_fence_cb, node);
    list_del_init(cb->node);  // before the call: the callback may free its storage
    if (cb->func == detail::wake_fence_waiter) {
      wakes.add(detail::begin_fence_wake(*cb));
    } else {
      cb->func(&fence, cb);
    }
  }
  return true;
}

/// Signals, and moves what is to be called to `callbacks`. False if it was signalled already.
bool begin_signal(dma_fence& fence, std::int64_t ns, list_head& callbacks,
                  detail::pending_wakes& wakes) noexcept INTERLOCK_REQUIRES(fence.lock) {
  std::uint32_t seen = fence.flags.load_acquire();  // [E4] for who finds it signalled
  if ((seen & flag::signaled) != 0) return false;
  list_replace_init(fence.cb_list, callbacks);
  barrier();  // before the time is written over it, see leave_parent
  fence.timestamp_ns = ns;
  constexpr std::uint32_t done = flag::signaled | flag::timestamp;
  while (!fence.flags.compare_exchange_seq_cst(seen, seen | done)) {  // [E3] with [E4], [E5], [E8]
    // By [E1]: so nobody had armed it, and nothing was on the list. The time is told by nobody.
    if ((seen & flag::signaled) != 0) return false;
  }
  if ((seen & flag::sleepers) != 0) wakes.add_all(fence.flags);
  finish_signal(fence, seen);
  return true;
}

/// For who holds the lock, and keeps it. `wakes` are for the caller to flush.
bool signal_at(dma_fence& fence, std::int64_t ns, detail::pending_wakes& wakes) noexcept
    INTERLOCK_REQUIRES(fence.lock) {
  list_head callbacks;
  if (!begin_signal(fence, ns, callbacks, wakes)) return false;
  while (!run_callbacks(fence, callbacks, wakes)) wakes.flush();
  return true;
}

/// The woken are unparked without the lock, which they may take next.
bool lock_and_signal(dma_fence& fence, std::int64_t ns) noexcept {
  detail::pending_wakes wakes;
  list_head callbacks;
  irq_flags flags = fence.lock.lock(irqsave);
  const bool signalled = begin_signal(fence, ns, callbacks, wakes);
  while (signalled && !run_callbacks(fence, callbacks, wakes)) {
    // What is left stays linked: it may be removed meanwhile, under the lock.
    fence.lock.unlock(irqsave, flags);
    wakes.flush();
    flags = fence.lock.lock(irqsave);
  }
  fence.lock.unlock(irqsave, flags);
  wakes.flush();
  return signalled;
}

/// Without the lock. True if it did it; else `seen` says why not.
bool try_signal(dma_fence& fence, std::uint32_t& seen) noexcept {
  seen = fence.flags.load_acquire();  // [E4] for who finds it signalled
  while ((seen & needs_lock) == 0) {
    if (fence.flags.compare_exchange_seq_cst(seen, seen | flag::signaled)) {  // [E1] with [E2]
      finish_signal(fence, seen);
      return true;
    }
  }
  return false;
}

/// The provider's peek.
bool provider_says_signaled(dma_fence& fence) noexcept {
  const guard g{rcu};
  const dma_fence_ops* const table = rcu_dereference(fence.ops);
  if (table == nullptr) return true;  // [E7]
  return table->signaled != nullptr && table->signaled(&fence);
}

/// 1, or -errno, of a fence that is signalled.
int outcome(const dma_fence& fence) noexcept {
  const int code = fence.error_code.load_relaxed();
  return code < 0 ? code : 1;
}

/// True if the fence is armed and not signalled, so that callbacks may be added.
bool arm(dma_fence& fence) noexcept INTERLOCK_REQUIRES(fence.lock) {
  std::uint32_t seen = fence.flags.load_acquire();  // [E4]
  if ((seen & (flag::signaled | flag::enable_signal)) == 0) {
    seen = fence.flags.fetch_or_seq_cst(flag::enable_signal);  // [E2] with [E1]
  }
  if ((seen & flag::signaled) != 0) return false;
  if ((seen & flag::enable_signal) != 0) return true;  // and stays unsignalled (I7)
  platform::event::fence_enable_signal(&fence);
  const dma_fence_ops* const table = rcu_access_pointer(fence.ops);  // they stay (I7)
  if (table->enable_signaling != nullptr && !table->enable_signaling(&fence)) {
    platform::event::fence_answered(&fence);
    fence.signal_locked();
    return false;
  }
  return true;
}

/// Without the lock, where there is no op to be called: nothing is added to the list. False if there
/// is one.
bool try_arm_unlocked(dma_fence& fence) noexcept {
  const guard g{rcu};
  const dma_fence_ops* const table = rcu_dereference(fence.ops);
  if (table == nullptr) return true;  // [E7]
  if (table->enable_signaling != nullptr) return false;
  const std::uint32_t seen = fence.flags.fetch_or_seq_cst(flag::enable_signal);  // [E2] with [E1]
  if ((seen & (flag::signaled | flag::enable_signal)) == 0) {
    platform::event::fence_enable_signal(&fence);
  }
  return true;
}

/// The last reference of a fence that nobody has signalled.
void drop_unsignaled(dma_fence& fence) noexcept {
  const bool armed = (fence.flags.load_relaxed() & flag::enable_signal) != 0;
  const bool awaited = armed && !list_empty(fence.cb_list);  // nobody else can reach it: no lock
  if (!awaited) {
    if (detail::reports_dropped_fences()) detail::report_dropped_fence(fence);
    return;
  }
  detail::report_released_fence(fence);
  fence.set_error(error::resource_deadlock_would_occur);
  fence.signal();
}

/// As refcount::get_unless_zero, and what follows is not done before it.
bool get_unless_zero_acquire(refcount& refs) noexcept {
  if (!refs.get_unless_zero()) return false;
  smp_mb();
  return true;
}

const char* stub_name(dma_fence*) noexcept { return "stub"; }

constexpr dma_fence_ops stub_ops{stub_name, stub_name, nullptr, nullptr, nullptr, nullptr, nullptr};

bool same_context(const dma_fence& a, const dma_fence& b) noexcept {
  return !INTERLOCK_WARN_ON(a.context != b.context);
}

}  // namespace

constinit dma_fence dma_fence::stub{stub_tag{}};

dma_fence::dma_fence(const dma_fence_ops& table, std::uint64_t context_, std::uint64_t seqno_,
                     std::uint32_t flags_) noexcept
    : ops{&table},
      cb_list{&cb_list, &cb_list},
      context{context_},
      seqno{seqno_},
      flags{flags_ & ~core_flags},
      error_code{0} {
  INTERLOCK_BUG_ON(table.get_driver_name == nullptr || table.get_timeline_name == nullptr);
  if (table.wait == nullptr && table.release == nullptr) {
    flags.store_relaxed(flags.load_relaxed() | flag::detach_ops);
  }
  platform::event::lock_set_class(&lock, &table, nullptr);  // a class for each kind of fence
  platform::event::fence_init(this, context_, seqno_);
}

bool dma_fence::signal() noexcept {
  std::uint32_t seen;
  if (try_signal(*this, seen)) return true;
  if ((seen & flag::signaled) != 0) return false;
  return lock_and_signal(*this, now_ns());
}

bool dma_fence::signal_timestamp(deadline when) noexcept {
  return lock_and_signal(*this, when.time_since_epoch().count());
}

bool dma_fence::signal_timestamp_locked(deadline when) noexcept {
  detail::pending_wakes wakes;
  const bool signalled = signal_at(*this, when.time_since_epoch().count(), wakes);
  wakes.flush();  // the lock is the caller's
  return signalled;
}

bool dma_fence::signal_locked() noexcept {
  std::uint32_t seen;
  if (try_signal(*this, seen)) return true;
  if ((seen & flag::signaled) != 0) return false;
  detail::pending_wakes wakes;
  const bool signalled = signal_at(*this, now_ns(), wakes);
  wakes.flush();  // the lock is the caller's
  return signalled;
}

// The signal comes after the reader, which the callbacks are none of. Somebody else may be faster.

bool dma_fence::is_signaled_slow() noexcept {
  if (!provider_says_signaled(*this)) return false;
  platform::event::fence_answered(this);
  signal();
  return true;
}

bool dma_fence::is_signaled_slow_locked() noexcept {
  if (!provider_says_signaled(*this)) return false;
  platform::event::fence_answered(this);
  signal_locked();
  return true;
}

void dma_fence::enable_sw_signaling() noexcept {
  if ((flags.load_acquire() & (flag::signaled | flag::enable_signal)) != 0) return;  // [E4]
  if (try_arm_unlocked(*this)) return;
  {
    const guard g{irqsave, lock};
    arm(*this);
  }
  detail::serve_orphans();  // whose timer may have been armed
}

result<void> dma_fence::add_callback(dma_fence_cb& cb,
                                     void (*func)(dma_fence*, dma_fence_cb*)) noexcept {
  list_init(cb.node);
  cb.func = func;
  if (func == nullptr) return error::invalid_argument;
  if (test_signaled_flag()) return error::no_such_file_or_directory;
  {
    const guard g{irqsave, lock};
    if (!arm(*this)) return error::no_such_file_or_directory;
    list_add_tail(cb.node, cb_list);
  }
  detail::serve_orphans();  // of the timer that may have been armed; the fence may be gone by now
  return {};
}

bool dma_fence::remove_callback(dma_fence_cb& cb) noexcept {
  const guard g{irqsave, lock};
  if (list_empty(cb.node)) return false;
  list_del_init(cb.node);
  return true;
}

void dma_fence::set_error(error e) noexcept {
  const int code = to_negative_errno(e);
  if (INTERLOCK_WARN_ON(test_signaled_flag())) return;
  if (INTERLOCK_WARN_ON(code >= 0 || code < -4095)) return;
  error_code.store_relaxed(code);  // published by [E3]
}

int dma_fence::status() noexcept { return is_signaled() ? outcome(*this) : 0; }

int dma_fence::status_locked() noexcept { return is_signaled_locked() ? outcome(*this) : 0; }

deadline dma_fence::timestamp() noexcept {
  const std::uint32_t seen = flags.load_acquire();  // [E6] pairs with [E5]
  if ((seen & flag::timestamp) != 0) return deadline{ktime{timestamp_ns}};
  const std::int64_t ns = now_ns();
  if (INTERLOCK_WARN_ON((seen & flag::signaled) == 0)) return deadline{ktime{ns}};
  const guard g{irqsave, lock};
  if ((flags.load_relaxed() & flag::timestamp) == 0) {
    timestamp_ns = ns;
    flags.fetch_or_release(flag::timestamp);  // [E5] pairs with [E6]
  }
  return deadline{ktime{timestamp_ns}};
}

void dma_fence::set_deadline(deadline when) noexcept {
  const guard g{interlock::rcu};
  const dma_fence_ops* const table = rcu_dereference(ops);
  if (table == nullptr || table->set_deadline == nullptr || test_signaled_flag()) return;
  table->set_deadline(this, when.time_since_epoch().count());
}

const char* dma_fence::driver_name() const noexcept {
  const dma_fence_ops* const table = rcu_dereference(ops);
  // The ops of C take no const; a name op changes nothing.
  return table != nullptr ? table->get_driver_name(const_cast<dma_fence*>(this)) : detached_driver;
}

const char* dma_fence::timeline_name() const noexcept {
  const dma_fence_ops* const table = rcu_dereference(ops);
  return table != nullptr ? table->get_timeline_name(const_cast<dma_fence*>(this))
                          : detached_timeline;
}

void dma_fence_release(dma_fence& fence) noexcept {
  if (!fence.test_signaled_flag()) drop_unsignaled(fence);
  platform::event::fence_destroy(&fence);
  if (rcu_access_pointer(fence.ops) == nullptr) {  // [E7]; nobody else is left
    dma_fence_free(fence);
    return;
  }
  const guard g{rcu};
  const dma_fence_ops* const table = rcu_dereference(fence.ops);
  if (table != nullptr && table->release != nullptr) {
    table->release(&fence);
  } else {
    dma_fence_free(fence);
  }
}

void dma_fence_free(dma_fence& fence) noexcept { free_rcu(fence.rcu, &fence); }

ref_ptr<dma_fence> dma_fence_get_rcu_safe(const rcu_pointer<dma_fence>& p) noexcept {
  const guard g{rcu};
  while (true) {
    dma_fence* const fence = rcu_dereference(p);
    if (fence == nullptr) return nullptr;
    // The memory may have become another fence since: what counts is where `p` points now.
    if (!get_unless_zero_acquire(fence->refs)) continue;
    auto held = ref_ptr<dma_fence>::adopt(fence);
    if (rcu_access_pointer(p) == fence) return held;
  }
}

std::uint64_t dma_fence_context_alloc(unsigned count) noexcept {
  INTERLOCK_WARN_ON(count == 0);
  return next_context.fetch_add_relaxed(count);
}

ref_ptr<dma_fence> dma_fence_get_stub() noexcept {
  return ref_ptr<dma_fence>::share(dma_fence::stub);  // its own reference is never dropped
}

result<ref_ptr<dma_fence>> dma_fence_make_signaled(deadline when) noexcept {
  dma_fence_might_allocate();
  void* const memory = std::malloc(sizeof(dma_fence));
  if (memory == nullptr) return error::not_enough_memory;
  auto* const fence = new (memory) dma_fence{stub_ops, 0, 0};
  fence->signal_timestamp(when);
  return ref_ptr<dma_fence>::adopt(fence);
}

bool dma_fence_is_later(const dma_fence& a, const dma_fence& b) noexcept {
  if (!same_context(a, b)) return false;
  const bool seqno64 = (a.flags.load_relaxed() & flag::seqno64) != 0;
  return dma_fence_seqno_is_later(a.seqno, b.seqno, seqno64);
}

bool dma_fence_is_later_or_same(const dma_fence& a, const dma_fence& b) noexcept {
  return &a == &b || dma_fence_is_later(a, b);
}

dma_fence* dma_fence_later(dma_fence& a, dma_fence& b) noexcept {
  if (!same_context(a, b)) return nullptr;
  dma_fence& later = dma_fence_is_later(a, b) ? a : b;
  return later.is_signaled() ? nullptr : &later;
}

}  // namespace interlock::inline INTERLOCK_PLATFORM
