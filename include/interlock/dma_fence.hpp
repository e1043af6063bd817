// SPDX-License-Identifier: Apache-2.0
#pragma once

/// `dma_fence`: one object for "this work is done", which devices, tasks and processes wait on.
///
/// One-shot, counted, ordered by `(context, seqno)`. Signalling it is one atomic operation when
/// nobody waits: only a waiter or a callback arms the signalling (`enable_signaling`).
///
/// Obligations of whoever makes fences (the cross-driver contract):
/// - A published fence MUST be signalled in bounded time, with no further action of user code. Work
///   that hangs MUST be force-completed with an error.
/// - Fences of one context MUST be signalled in seqno order.
/// - An error MUST be set before the signal. Signalled is final.
/// - Code that must run for a fence to signal MUST NOT allocate with sleeping, take a lock that is
///   held across a fence wait, or be user-decided. Mark it with `guard g{signalling}`.
/// - The signaller MUST hold a reference across `signal`.
/// - Ops with neither `wait` nor `release` are detached at the signal: the fence then outlives the
///   module of its maker. Otherwise the maker must outlive the fence by a grace period.
///
/// Callbacks run once, in the signaller's context, in order of addition, under the fence's lock
/// with interrupts off; between two of them signal may drop both for a moment. They MUST NOT sleep, throw, or call what takes the same fence's lock. They MAY
/// free their own storage, drop references, wake tasks, signal other fences, raise lines.
///
/// Invariants: I1. `signaled` is set once and never cleared. I2. The callback list is valid only
///   while `signaled` is clear, and changes under `lock` only; the signaller detaches it first. I3. A list that is not empty implies
///   `enable_signal`. I4. Of the union, one member is alive: the list until the signal, then the
///   timestamp, then the RCU head.
/// Ordering: [E1] signal is a seq_cst RMW of `flags`, [E2] so is arming: without a lock a signal
///   succeeds only if nobody has armed; else it takes the lock, where the list cannot be missed.
///   [E3] signal releases what the work wrote and the error; [E4] is_signaled acquires it.
/// Source: Linux drivers/dma-buf/dma-fence.c and its "fence cross-driver contract" (semantics).

#include <cstddef>
#include <cstdint>
#include <span>

#include "interlock/list.hpp"
#include "interlock/rcupdate.hpp"
#include "interlock/refcount.hpp"
#include "interlock/result.hpp"
#include "interlock/spinlock.hpp"
#include "interlock/task.hpp"
#include "interlock/time.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

struct dma_fence;
[[nodiscard]] INTERLOCK_API ref_ptr<dma_fence> dma_fence_get_stub() noexcept;

/// Caller-owned storage of a callback. Lifetime: until it has run or `remove_callback` returned.
struct dma_fence_cb {
  list_head node;
  void (*func)(dma_fence* fence, dma_fence_cb* cb);
};

/// What a provider implements. C layout; null where optional; none may throw.
struct dma_fence_ops {
  /// Mandatory. Any context. The strings live a grace period longer than the fence is unsignalled.
  const char* (*get_driver_name)(dma_fence* fence);
  const char* (*get_timeline_name)(dma_fence* fence);
  /// Optional. Called once, under the fence's lock with interrupts off: switch the interrupt on, or
  /// start to poll. True: will signal later; whoever will must own a reference by then. False: is
  /// done or has failed (an error may be set), and the core signals it at once.
  bool (*enable_signaling)(dma_fence* fence);
  /// Optional. Any context, without the lock: a cheap peek, may lag, once true always true. May set
  /// an error before it returns true.
  bool (*signaled)(dma_fence* fence);
  /// Optional, discouraged. Task context. Returns 0, -EINTR or -ETIMEDOUT. `deadline_ns` is on the
  /// monotonic clock, INT64_MAX for none.
  int (*wait)(dma_fence* fence, bool interruptible, std::int64_t deadline_ns);
  /// Optional. Any context. Owns the fence; must end in a free after a grace period
  /// (`dma_fence_free`, or call_rcu).
  void (*release)(dma_fence* fence);
  /// Optional. Any context, without the lock, repeatedly: keep the earliest. A hint only.
  void (*set_deadline)(dma_fence* fence, std::int64_t deadline_ns);
};

/// Bits of `dma_fence::flags`, in the order of a fence's life.
namespace dma_fence_flag {
inline constexpr std::uint32_t signaled = 1u << 0;
inline constexpr std::uint32_t timestamp = 1u << 1;  ///< the timestamp may be read
inline constexpr std::uint32_t enable_signal = 1u << 2;
inline constexpr std::uint32_t seqno64 = 1u << 3;         ///< compare seqnos linearly as 64 bits
inline constexpr std::uint32_t want_timestamp = 1u << 4;  ///< read the clock though nobody armed it
inline constexpr std::uint32_t detach_ops = 1u << 5;      ///< the core's: ops go at the signal
inline constexpr std::uint32_t sleepers = 1u << 6;  ///< the core's: a wait may park on `flags`
inline constexpr std::uint32_t user_bits = 16;      ///< bits from here up are the provider's
}  // namespace dma_fence_flag

struct dma_fence {
  /// Context: any. `ops` must outlive the fence unless they are detached; without the two name
  /// ops it is a bug that ends the process. `flags`: seqno64, want_timestamp, user bits; others are
  /// ignored. The fence has one reference, the caller's.
  /// Lifetime: a fence without a release op was allocated by `std::malloc` with the fence first.
  INTERLOCK_API dma_fence(const dma_fence_ops& ops, std::uint64_t context, std::uint64_t seqno,
                          std::uint32_t flags = 0) noexcept;
  dma_fence(dma_fence_ops&&, std::uint64_t, std::uint64_t, std::uint32_t = 0) = delete;
  dma_fence(const dma_fence&) = delete;
  dma_fence& operator=(const dma_fence&) = delete;

  /// Signals now. True if this call did it, false if it was signalled already.
  /// Context: any but NMI. Order: [E3]. No system call if nobody waits.
  INTERLOCK_API bool signal() noexcept;
  /// The same with the time at which the work ended (a device's own clock reading, converted).
  /// Context: any but NMI.
  INTERLOCK_API bool signal_timestamp(deadline when) noexcept;
  /// For callers that hold `lock`.
  /// Context: any but NMI; holds `lock`.
  INTERLOCK_API bool signal_locked() noexcept INTERLOCK_REQUIRES(lock);
  INTERLOCK_API bool signal_timestamp_locked(deadline when) noexcept INTERLOCK_REQUIRES(lock);

  /// True if signalled; asks the provider's peek, and signals if that says so. Never arms: without
  /// a waiter or a callback a fence may stay unsignalled for ever. Context: any but NMI. Order:
  /// [E4].
  [[nodiscard]] bool is_signaled() noexcept {
    if ((flags.load_acquire() & dma_fence_flag::signaled) != 0) return true;  // [E4]
    return is_signaled_slow();
  }
  /// For callers that hold `lock`, which `is_signaled` may take.
  /// Context: any but NMI; holds `lock`. Order: [E4].
  [[nodiscard]] bool is_signaled_locked() noexcept INTERLOCK_REQUIRES(lock) {
    if (test_signaled_flag()) return true;
    return is_signaled_slow_locked();
  }
  /// Only the flag. Context: any. Order: [E4].
  [[nodiscard]] bool test_signaled_flag() const noexcept {
    return (flags.load_acquire() & dma_fence_flag::signaled) != 0;  // [E4] pairs with [E3]
  }

  /// Arms it, as a waiter would.
  /// Context: any but NMI, a task may wait until the service CPU is started; see add_callback.
  INTERLOCK_API void enable_sw_signaling() noexcept;

  /// Adds `cb`, to be called as `func(this, &cb)` at the signal. Arms the fence.
  /// Errors: no_such_file_or_directory if it is signalled already (then `cb` will not be called),
  ///         invalid_argument if `func` is null. `cb.node` is initialised in each case.
  /// Context: any but NMI, a task may wait until the service CPU is started, if a polled fence needs
  ///          it and none runs; not in a signalling section. The caller holds a reference.
  INTERLOCK_API result<void> add_callback(dma_fence_cb& cb,
                                          void (*func)(dma_fence*, dma_fence_cb*)) noexcept;
  /// True if `cb` was still queued and will not run; false if it has run (it does not run now).
  /// Pre: it was added once. Context: any but NMI, and not from a callback of this fence.
  INTERLOCK_API bool remove_callback(dma_fence_cb& cb) noexcept;

  /// Waits, uninterruptibly. An unbounded wait has a watchdog (option `fence_watchdog_ms`) that
  /// prints the fence, its producer and how long it has been waited for.
  /// Context: task, may sleep.
  INTERLOCK_API void wait(location where = location::current()) noexcept;
  /// False if `until` passed first. An expired deadline polls (and arms, as every wait does).
  /// Context: task, may sleep.
  [[nodiscard]] INTERLOCK_API bool wait_until(deadline until,
                                              location where = location::current()) noexcept;
  /// Errors: interrupted, timed_out.
  /// Context: task, may sleep.
  [[nodiscard]] INTERLOCK_API result<void> wait_interruptible(
      deadline until = no_deadline, location where = location::current()) noexcept;

  /// Sets the error that the signal will carry. Reported if signalled already.
  /// Context: any but NMI; the producer's.
  INTERLOCK_API void set_error(error e) noexcept;
  /// Nothing yet: 0. Done: 1. Failed: -errno. The kernel's `get_status`. Context: any but NMI.
  [[nodiscard]] INTERLOCK_API int status() noexcept;
  /// Context: any but NMI; holds `lock`.
  [[nodiscard]] INTERLOCK_API int status_locked() noexcept INTERLOCK_REQUIRES(lock);
  /// When it was signalled. Pre: signalled (reported otherwise). If nobody armed it and no time was
  /// supplied or asked for, this is when somebody first saw it signalled: `now()` of this call.
  /// Context: any but NMI.
  [[nodiscard]] INTERLOCK_API deadline timestamp() noexcept;
  /// Tells the producer when the result is wanted. A hint. Context: any but NMI.
  INTERLOCK_API void set_deadline(deadline when) noexcept;

  /// "driver=%s timeline=%s context=%u seqno=%u" and the state, as the kernel's tracepoints print.
  /// Returns the length without the terminator; cut to fit. Context: any.
  INTERLOCK_API std::size_t describe(char* buffer, std::size_t size) const noexcept;

  /// Provider and timeline name, or "signaled-driver" and "signaled-timeline" once detached.
  /// Context: any, inside a reader as long as the string is used.
  [[nodiscard]] INTERLOCK_API const char* driver_name() const noexcept;
  [[nodiscard]] INTERLOCK_API const char* timeline_name() const noexcept;

  // C layout from here: a C twin in tests/unit/dma_fence_layout_twin.c compares offsets. Read by
  // providers.

  rcu_pointer<const dma_fence_ops> ops;
  union {  // in the order of a fence's life
    list_head cb_list;
    std::int64_t timestamp_ns;
    rcu_head rcu;
  };
  std::uint64_t context;
  std::uint64_t seqno;
  atomic<std::uint32_t> flags;
  refcount refs;
  spinlock lock;
  atomic<std::int32_t> error_code;  ///< 0 or -errno, sticky
  std::uint64_t provider_code = 0;  ///< the provider's own code beside the errno; before the signal

 private:
  friend ref_ptr<dma_fence> dma_fence_get_stub() noexcept;

  /// The stub: born signalled, without ops, at the beginning of time.
  struct stub_tag {};
  constexpr explicit dma_fence(stub_tag) noexcept
      : timestamp_ns{0},
        context{0},
        seqno{0},
        flags{dma_fence_flag::signaled | dma_fence_flag::timestamp},
        error_code{0} {}
  static dma_fence stub;

  INTERLOCK_API bool is_signaled_slow() noexcept;
  INTERLOCK_API bool is_signaled_slow_locked() noexcept INTERLOCK_REQUIRES(lock);
};

static_assert(sizeof(dma_fence) == 64);
static_assert(std::is_standard_layout_v<dma_fence>);

/// References. Context: any but NMI; a task may wait in the last put, which calls free_rcu: for
/// handlers of sigaction see there. The last put of an unsignalled fence with callbacks signals it
/// with EDEADLK and reports; without callbacks it is silent unless option `fence_report_dropped=1`.
inline void intrusive_get(dma_fence& fence) noexcept { fence.refs.get(); }
INTERLOCK_API void dma_fence_release(dma_fence& fence) noexcept;
inline void intrusive_put(dma_fence& fence) noexcept {
  if (fence.refs.put()) [[unlikely]]
    dma_fence_release(fence);
}
/// A reference, or null if the count has reached 0. Context: any, NMI included; inside a reader.
[[nodiscard]] inline ref_ptr<dma_fence> dma_fence_get_rcu(dma_fence& fence) noexcept {
  return ref_ptr<dma_fence>::adopt(fence.refs.get_unless_zero() ? &fence : nullptr);
}
/// The fence that `p` points to, with a reference, or null; retries while it is replaced, so that
/// it is right for memory that is reused within a grace period. Context: any but NMI; takes the
/// reader.
[[nodiscard]] INTERLOCK_API ref_ptr<dma_fence> dma_fence_get_rcu_safe(
    const rcu_pointer<dma_fence>& p) noexcept;
/// Frees the memory after a grace period with `std::free`. The end of every release op that owns
/// malloc'ed memory. Context: any but NMI; a task may wait, as in free_rcu; so for handlers of
/// sigaction.
INTERLOCK_API void dma_fence_free(dma_fence& fence) noexcept;

/// The first of `count` fresh contexts. Never recycled; 0 is the stub's. Context: any.
[[nodiscard]] INTERLOCK_API std::uint64_t dma_fence_context_alloc(unsigned count = 1) noexcept;

/// A fence that is signalled already, shared. Context: any.
[[nodiscard]] INTERLOCK_API ref_ptr<dma_fence> dma_fence_get_stub() noexcept;  // declared above
/// A new one that was signalled at `when`. Errors: not_enough_memory.
/// Context: task.
[[nodiscard]] INTERLOCK_API result<ref_ptr<dma_fence>> dma_fence_make_signaled(
    deadline when) noexcept;

/// Cyclic for 32-bit seqnos (horizon 2^31 - 1), linear for seqno64. `a` later than `b`?
/// Context: any.
[[nodiscard]] constexpr bool dma_fence_seqno_is_later(std::uint64_t a, std::uint64_t b,
                                                      bool seqno64) noexcept {
  if (seqno64) return a > b;
  return static_cast<std::int32_t>(static_cast<std::uint32_t>(a) - static_cast<std::uint32_t>(b)) >
         0;
}
/// True if the fence is of this context. Context: any.
[[nodiscard]] inline bool dma_fence_match_context(const dma_fence& fence,
                                                  std::uint64_t context) noexcept {
  return fence.context == context;
}
/// Pre: the same context (reported otherwise, and false). Context: any.
[[nodiscard]] INTERLOCK_API bool dma_fence_is_later(const dma_fence& a,
                                                    const dma_fence& b) noexcept;
[[nodiscard]] INTERLOCK_API bool dma_fence_is_later_or_same(const dma_fence& a,
                                                            const dma_fence& b) noexcept;
/// The later of two of one context, or null if that is signalled (it asks, as is_signaled does;
/// then both are done). No reference is taken. Context: any but NMI.
[[nodiscard]] INTERLOCK_API dma_fence* dma_fence_later(dma_fence& a, dma_fence& b) noexcept;

/// Waits until one of `fences` is signalled; its index. One callback for each; more than 16
/// allocate. Of several it is the lowest index. The same fence may be named twice. Errors:
/// timed_out, interrupted (if `interruptible`), not_enough_memory, invalid_argument (empty,
///         or a null among them).
/// Context: task, may sleep.
[[nodiscard]] INTERLOCK_API result<std::size_t> dma_fence_wait_any(
    std::span<dma_fence* const> fences, deadline until, bool interruptible = false,
    location where = location::current()) noexcept;

/// Marks code that must run for a fence to signal, from publication to signal. Nests; a section in
/// atomic context is a no-op. `end` takes what `begin` returned; an end without a begin is
/// reported. What is checked inside: `dma_fence_might_allocate`; on the model platform also waits
/// for fences, and locks that are elsewhere held across such a wait. Context: any.
[[nodiscard]] INTERLOCK_API bool dma_fence_begin_signalling(
    location where = location::current()) noexcept;
INTERLOCK_API void dma_fence_end_signalling(bool cookie) noexcept;
/// Inside such a section; false in a handler that interrupted one. Context: any.
[[nodiscard]] INTERLOCK_API bool dma_fence_in_signalling() noexcept;
/// For allocators and caches: reports if called inside a signalling section. Context: any.
INTERLOCK_API void dma_fence_might_allocate(location where = location::current()) noexcept;

struct signalling_t {
  explicit signalling_t() = default;
};
inline constexpr signalling_t signalling{};  ///< `guard g{signalling};`

template <>
class guard<signalling_t> {
 public:
  [[nodiscard]] explicit guard(signalling_t, location where = location::current()) noexcept
      : cookie_{dma_fence_begin_signalling(where)} {}
  guard(const guard&) = delete;
  guard& operator=(const guard&) = delete;
  ~guard() { dma_fence_end_signalling(cookie_); }

 private:
  bool cookie_;
};
guard(signalling_t)->guard<signalling_t>;
guard(signalling_t, location)->guard<signalling_t>;

}  // namespace interlock::inline INTERLOCK_PLATFORM
