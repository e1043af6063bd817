// SPDX-License-Identifier: Apache-2.0
#pragma once

/// RCU: readers that never wait, updaters that wait for the readers who may still look.
///
/// Readers need no registration and may be in any context, on any thread, in a signal handler on a
/// thread's first instruction. Read-side cost: one store to thread-local memory and a compiler
/// barrier each way. Updaters pay with the platform's heavy barrier.
///
/// The reader's word, `task_words::rcu`:
///
/// | bits  | meaning                                                                             |
/// |-------|-------------------------------------------------------------------------------------|
/// | 0-14  | nesting of rcu_read_lock                                                            |
/// | 15    | ready: the thread is on the readers' list and light_barrier suffices. Never set      |
/// |       | before both hold; may be clear for ever (then the slow path serves every section)   |
/// | 16-61 | number of the newest grace period the outermost lock saw, cyclic; may be older than |
/// |       | the truth (a grace period then waits in vain), never newer                          |
/// | 62    | index of the shared counter that covers this section, if bit 63 is set              |
/// | 63    | shared: the section is covered by a shared counter, not by this word. Used while a  |
/// |       | thread is not on the list: a handler amid the enlisting, a thread that has ended    |
///
/// Ordering:
///   reader                                     grace period
///   word = gp | 1; gp read by acquire  [G5]    publish the new pointer (the caller)
///   light_barrier                      [G1]    gp = gp + 1, by release                  [G6]
///   p = rcu_dereference(...)                   heavy_barrier                            [G2]
///   ... use *p ...                             read every word by acquire               [G4]
///   word = 0, as every change by release [G3]  idle, or entered since: done with it
/// A section is safe, whatever the value of its word that the grace period acts upon. The value is
///   its own, with an older gp: it is waited for.
///   later than its own: all its uses happen before the end of the grace period (G3 with G4).
///   earlier than its own: the section sees the new pointer. Else its use came before the barrier
///     that G2 put into this thread, hence its store of the word too, hence G4 had seen that (G1).
///   its own, with a newer gp: it read what G6 wrote, so it sees the new pointer (G5 with G6).
/// So one barrier and one pass suffice. A gp that is stale when it is stored costs a wait in vain,
/// at most once per thread and grace period: after G2 every load of it is new.
/// On x86 the acquire and the releases are free; elsewhere they replace a barrier of the updater.
/// Source: Desnoyers et al., "User-Level Implementations of Read-Copy Update" (2012), with a
/// counter in place of a phase bit, so that one pass over the readers suffices; Linux RCU
/// documentation for the semantics. For the C++26 names see rcu.hpp.

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "interlock/guard.hpp"
#include "interlock/might_sleep.hpp"
#include "interlock_platform/asymmetric_barrier.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

namespace detail {

inline constexpr std::uint64_t rcu_ready = 0x8000;
inline constexpr std::uint64_t rcu_word_mask = 0xffff;
inline constexpr unsigned rcu_sequence_shift = 16;

/// Alone on its cache line: every reader reads it, every grace period writes it.
struct alignas(64) rcu_reader_line {
  atomic<std::uint64_t> word;
};

/// The word that an outermost reader stores: newest grace period << 16 | ready | nesting 1.
INTERLOCK_API extern constinit rcu_reader_line rcu_reader_word;

INTERLOCK_API void rcu_read_lock_slow() noexcept;
INTERLOCK_API void rcu_read_unlock_slow() noexcept;

}  // namespace detail

/// Enters a read-side section; nests. Context: any, NMI included; any thread. Never sleeps.
/// The section must not sleep (reported by might_sleep).
inline void rcu_read_lock() noexcept {
  atomic<std::uint64_t>& word = platform::this_task().rcu;
  const std::uint64_t seen = word.load_relaxed();
  if ((seen & detail::rcu_word_mask) == detail::rcu_ready) [[likely]] {
    // [G5] pairs with [G6] in the grace period; [G3], also here, with [G4]: an earlier section may
    // be judged by this value.
    word.store_release(detail::rcu_reader_word.word.load_acquire());
  } else {
    detail::rcu_read_lock_slow();
  }
  platform::light_barrier();  // [G1] pairs with [G2] heavy_barrier in the grace period
  platform::event::rcu_reader_enter();
}

/// Leaves it. Never runs callbacks. Context: any, NMI included; as the matching lock, on the same
/// task.
inline void rcu_read_unlock() noexcept {
  platform::event::rcu_reader_exit();
  barrier();
  atomic<std::uint64_t>& word = platform::this_task().rcu;
  const std::uint64_t seen = word.load_relaxed();
  if ((seen & detail::rcu_word_mask) == (detail::rcu_ready | 1)) [[likely]] {
    word.store_release(seen - 1);  // [G3] pairs with [G4] in the grace period
  } else {
    detail::rcu_read_unlock_slow();
  }
}

/// Inside a reader. Context: any.
[[nodiscard]] inline bool rcu_read_lock_held() noexcept {
  return (platform::this_task().rcu.load_relaxed() & detail::rcu_nesting_mask) != 0;
}

struct rcu_t {
  explicit rcu_t() = default;
};
/// `guard g{rcu};`
inline constexpr rcu_t rcu{};

template <>
class guard<rcu_t> {
 public:
  [[nodiscard]] explicit guard(rcu_t) noexcept { rcu_read_lock(); }
  guard(const guard&) = delete;
  guard& operator=(const guard&) = delete;
  ~guard() { rcu_read_unlock(); }
};
guard(rcu_t)->guard<rcu_t>;

/// A pointer that readers follow under RCU; the kernel's `__rcu`. Its value is reached through the
/// functions below only. C layout: one pointer.
template <class T>
class rcu_pointer {
 public:
  using element_type = T;

  constexpr rcu_pointer() noexcept = default;
  /// For objects that no reader can see yet.
  constexpr explicit rcu_pointer(T* initial) noexcept : pointer_{initial} {}
  rcu_pointer(const rcu_pointer&) = delete;
  rcu_pointer& operator=(const rcu_pointer&) = delete;

 private:
  template <class U>
  friend U* rcu_dereference_raw(const rcu_pointer<U>&) noexcept;
  template <class U>
  friend U* rcu_access_pointer(const rcu_pointer<U>&) noexcept;
  template <class U>
  friend void rcu_assign_pointer(rcu_pointer<U>&, std::type_identity_t<U>*) noexcept;
  template <class U>
  friend void rcu_init_pointer(rcu_pointer<U>&, std::type_identity_t<U>*) noexcept;
  template <class U>
  friend U* rcu_exchange_pointer(rcu_pointer<U>&, std::type_identity_t<U>*) noexcept;

  atomic<T*> pointer_{nullptr};
};

/// Reads the pointer for dereference, without checking the context.
/// Order: acquire. [D1] pairs with [D2] rcu_assign_pointer; a dependency would do on today's CPUs,
/// but compilers do not promise it.
/// Context: any, NMI included.
template <class T>
[[nodiscard]] T* rcu_dereference_raw(const rcu_pointer<T>& p) noexcept {
  T* const value = p.pointer_.load_acquire();  // [D1]
  platform::event::rcu_dereference(value);
  return value;
}

namespace detail {
INTERLOCK_API void rcu_dereference_outside_reader(location where) noexcept;
}

/// Reads the pointer for dereference. Requires: inside a reader (reported otherwise).
/// Lifetime: what it points to is valid until the matching rcu_read_unlock.
/// Context: any, NMI included; inside a reader.
template <class T>
[[nodiscard]] T* rcu_dereference(const rcu_pointer<T>& p,
                                 location where = location::current()) noexcept {
  if (!rcu_read_lock_held()) [[unlikely]]
    detail::rcu_dereference_outside_reader(where);
  return rcu_dereference_raw(p);
}

/// The same where `condition` (a held update-side lock) protects as well as a reader does.
/// Context: any, NMI included.
template <class T>
[[nodiscard]] T* rcu_dereference_check(const rcu_pointer<T>& p, bool condition,
                                       location where = location::current()) noexcept {
  if (!condition && !rcu_read_lock_held()) [[unlikely]] {
    detail::rcu_dereference_outside_reader(where);
  }
  return rcu_dereference_raw(p);
}

/// For updaters that exclude all other updaters, which `condition` states.
/// Context: any.
template <class T>
[[nodiscard]] T* rcu_dereference_protected(const rcu_pointer<T>& p, bool condition,
                                           location where = location::current()) noexcept {
  if (!condition) [[unlikely]]
    detail::rcu_dereference_outside_reader(where);
  return rcu_access_pointer(p);
}

/// Reads the value without following it (to compare with null). Context: any. Order: relaxed.
template <class T>
[[nodiscard]] T* rcu_access_pointer(const rcu_pointer<T>& p) noexcept {
  return p.pointer_.load_relaxed();
}

/// Publishes `value`. Order: [D2] release; what was written before is seen by who dereferences it.
/// Context: any.
template <class T>
void rcu_assign_pointer(rcu_pointer<T>& p, std::type_identity_t<T>* value) noexcept {
  p.pointer_.store_release(value);  // [D2] pairs with [D1]
}

/// Sets the value before readers can see `p`, or to null. Order: relaxed.
/// Context: any.
template <class T>
void rcu_init_pointer(rcu_pointer<T>& p, std::type_identity_t<T>* value) noexcept {
  p.pointer_.store_relaxed(value);
}

/// Publishes `value` and returns what was there. Order: as rcu_assign_pointer, and acquire.
/// Context: any.
template <class T>
[[nodiscard]] T* rcu_exchange_pointer(rcu_pointer<T>& p, std::type_identity_t<T>* value) noexcept {
  return p.pointer_.exchange_acq_rel(value);  // [D2] pairs with [D1]
}

/// The intrusive node of a callback. C layout, 16 bytes; contents are RCU's while it is queued, so
/// it may share a union with members that are dead by then. No initialisation is needed.
struct rcu_head {
  rcu_head* next;
  void (*func)(rcu_head* head);
};

/// Calls `func(&head)` after a grace period, on RCU's own thread, in softirq context: it must not
/// block (reported), may call call_rcu, may free the object that holds `head`.
/// Context: any, NMI excepted; a task may wait under a flood (option `rcu_backlog_max`; a task that
///          is preemptible, outside readers and fence signalling sections) until RCU has caught up.
///          The first call starts the thread; in an interrupt, in atomic context or in a signalling
///          section it does not, and the next operation of RCU elsewhere does. Handlers of
///          sigaction, unknown to Interlock, count as tasks: call rcu_barrier() once before the
///          first of them may run.
/// Order:   what happened before call_rcu happens before the callback.
/// Errors:  none. Calling it again for a queued head is reported (option `rcu_debug_heads`, on in
///          checked builds). Lifetime: the head until the callback; code of `func` until
///          `rcu_barrier` has returned (before dlclose).
INTERLOCK_API void call_rcu(rcu_head& head, void (*func)(rcu_head* head)) noexcept;

/// Frees `block` by `std::free` after a grace period, without a callback of its own; `head` lies in
/// the first 4095 bytes of the block. rcu_barrier waits for it, statistics and backlog count it.
///
/// A task that gives many keeps them, up to `rcu_free_batch` (an option, 8192), and each further
/// call frees one that it gave before, so that the allocator has it again at once. What a task keeps
/// that gives few is freed by RCU's thread, some 10 ms later. Only a task that is preemptible and
/// outside fence signalling sections does so: it may call std::free.
/// Context: any, NMI excepted; a task may wait, as in call_rcu. A handler of sigaction, unknown to
///          Interlock, counts as a task, and std::free may not be called there: use call_rcu, or
///          set the option `rcu_free_batch` to 0.
INTERLOCK_API void free_rcu(rcu_head& head, void* block) noexcept;

/// Deletes `object` after a grace period: `delete_rcu<&node::rcu>(object)`. The destructor runs as a
/// callback does, and MUST NOT throw. Context: any, NMI excepted; a task may wait, as in call_rcu.
template <auto Head, class T>
void delete_rcu(T* object) noexcept {
  static_assert(std::is_same_v<decltype(Head), rcu_head T::*>, "name the rcu_head of T");
  call_rcu(object->*Head, [](rcu_head* head) {
    // The offset of the member, found on the object itself: no macro, also for non-standard layout.
    alignas(T) static const unsigned char model[sizeof(T)] = {};
    const auto* as_object = reinterpret_cast<const T*>(model);
    const auto offset = reinterpret_cast<const unsigned char*>(&(as_object->*Head)) - model;
    delete reinterpret_cast<T*>(reinterpret_cast<unsigned char*>(head) - offset);
  });
}

/// Waits until every reader that was inside when it was called has left.
/// Context: task outside readers, may sleep (reported otherwise: it would wait for itself).
/// Order:   a full barrier on every CPU between the call and the return.
INTERLOCK_API void synchronize_rcu(location where = location::current()) noexcept;
/// The same, sooner, at the cost of CPU time: it spins where the other sleeps.
/// Context: task, may sleep, outside readers.
INTERLOCK_API void synchronize_rcu_expedited(location where = location::current()) noexcept;

/// Waits until all callbacks that were queued before it have returned.
/// Context: task, outside readers and callbacks, may sleep.
INTERLOCK_API void rcu_barrier(location where = location::current()) noexcept;

/// A point in time, to ask later whether a grace period has passed since. Trivially copyable.
struct rcu_cookie {
  std::uint64_t sequence = 0;
  friend bool operator==(rcu_cookie, rcu_cookie) noexcept = default;
};

/// The cookie of now; starts nothing. Context: any. Order: full barrier.
[[nodiscard]] INTERLOCK_API rcu_cookie get_state_synchronize_rcu() noexcept;
/// The same, and sees to it that a grace period will pass. Context: any, NMI excepted.
[[nodiscard]] INTERLOCK_API rcu_cookie start_poll_synchronize_rcu() noexcept;
/// True if a full grace period has passed since the cookie was taken. Context: any.
/// Order: if true, as synchronize_rcu.
[[nodiscard]] INTERLOCK_API bool poll_state_synchronize_rcu(rcu_cookie cookie) noexcept;
/// Waits only if none has passed. Context: task, may sleep; as synchronize_rcu.
INTERLOCK_API void cond_synchronize_rcu(rcu_cookie cookie,
                                        location where = location::current()) noexcept;

/// Counters since the program began. Context: any; values are read one by one.
struct rcu_statistics {
  std::uint64_t grace_periods;
  std::uint64_t callbacks_queued;
  std::uint64_t callbacks_invoked;
  std::uint64_t callers_pushed_back;  ///< call_rcu calls that waited for the backlog
  std::uint64_t callers_let_through;  ///< above the limit, but in a context that may not wait
  std::uint64_t stalls;
};
/// Context: any.
[[nodiscard]] INTERLOCK_API rcu_statistics rcu_get_statistics() noexcept;

}  // namespace interlock::inline INTERLOCK_PLATFORM
