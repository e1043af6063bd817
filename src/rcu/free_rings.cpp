// SPDX-License-Identifier: Apache-2.0

/// Rings of blocks to be freed, one for each task that gives many.
///
/// A task has no ring at first: its calls of free_rcu go to the queue of the callbacks. After some of
/// them (of all tasks of its shard) it gets one, as long as there are any, and as long as the
/// platform's barrier is asymmetric. What it gives from then on it writes into its ring, without
/// a locked operation; when a grace period is over, each call frees one of those that waited for it,
/// or two if many wait. Who has 1024 waiting leads that grace period, if no reader is in the way;
/// else the worker does. Positions count for ever; the slot is the position modulo the size:
///
///     head            ripe            mark            tail
///      | may be freed   | waits for the | not marked yet |
///      |                | grace period  |                |
///      |                | `mark_cookie` |                |
///
/// Who is not the owner takes everything out at once, and puts it into the queue, where all goes on
/// as if the owner had queued it there: the worker, if the owner has given few in one of
/// its rounds; rcu_barrier, a shutdown, the end of the task, the child of a fork.
///
/// Invariants: R1. Inside a ring is its owner, who has set `busy` and found `claimed` 0, or a taker, who
///                 holds `rings_lock`, has set `claimed` and found `busy` 0. All but the atomic
///                 members belong to who is inside.
///             R2. The owner is inside for the time of two frees and of growing the ring, unless it
///                 is halted. It waits for nothing of RCU's there. So a taker that must wait does,
///                 but not with the lock held: a handler that halts the owner may fork.
///             R3. Nobody but the owner's code that Interlock knows to be a preemptible task enters: it
///                 may allocate and free. A handler that halts the owner inside finds `busy` set, and uses the queue.
///             R4. `head` and `tail` only grow; a head is in the ring or in the queue or freed. Moving
///                 counts it in the queue before `head` passes it: nobody finds it in neither.
///             R5. Each store of the owner leaves a ring that is right: the child of a fork may find any of
///                 them the last. At worst a block that its owner was just freeing stays allocated there.
///             R6. A task with a ring has its exit hook before it: it is on the list of readers.
/// Ordering: [B1] the owner sets `busy`, passes a light barrier, reads `claimed`; [B2] a taker sets
///           `claimed`, passes a heavy barrier, reads `busy`. One of the two sees the other.
///           [B3] the owner leaves by release, [B4] the taker enters by acquire; and back: the taker
///           clears `claimed` by release [B6], the owner reads it by acquire [B7].
///           [B5] the owner changes `tail`, passes a light barrier, reads `attention` ([A1]); the
///           worker sets `asleep`, passes a heavy barrier, looks at the rings ([A2]). Whether there
///           are rings it knows by a full barrier of its own and of who made the first.
///           [B8] `head` is changed by release after what it passes is in the queue, [B9] read by
///           acquire: who finds a ring empty finds in the queue what was in it.
/// Source: Linux Documentation/RCU (kfree_rcu, batches for each CPU); Dice, Huang, Yang, "Asymmetric
/// Dekker Synchronization" (2001).

#include "rcu/free_rings.hpp"

#include <bit>

#include "interlock/options.hpp"
#include "interlock_platform/park.hpp"
#include "rcu/callbacks.hpp"
#include "rcu/grace_period.hpp"
#include "rcu/short_lock.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {
namespace detail {
namespace {

using std::chrono::microseconds;

constexpr std::size_t rings_max = 128;
constexpr std::uint64_t size_default = 8192;
constexpr std::uint64_t size_max = std::uint64_t{1} << 20;
constexpr std::uint64_t size_first = 512;
constexpr std::uint64_t made_after = 64;     // calls
constexpr std::uint64_t looks_each = 8;      // calls, for the end of a grace period
constexpr std::uint64_t marks_at = 64;       // blocks that wait for no grace period yet
constexpr std::uint64_t asks_at = 1024;      // blocks that wait
constexpr std::uint64_t many = 4 * asks_at;  // blocks: a call frees two then, else one
constexpr std::uint64_t backlog_each = 64;   // calls, for the backlog
constexpr std::uint64_t freed_at_once = 64;  // by who waits for them
constexpr std::uint64_t prefetched = 6;
constexpr ktime owner_nap = microseconds{50};
constexpr unsigned owner_yields = 20;

/// Slots, as many as a power of two.
struct ring_memory {
  std::uint64_t size;  // the slots follow

  rcu_head*& at(std::uint64_t position) noexcept {
    return reinterpret_cast<rcu_head**>(this + 1)[position & (size - 1)];
  }
};

struct alignas(64) free_ring {
  // The owner's.
  atomic<std::uint32_t> busy{0};
  atomic<std::uint32_t> owner{0};  // id of the task, 0 for none; written with the lock held
  atomic<std::uint64_t> tail{0};
  atomic<std::uint64_t> head{0};
  atomic<ring_memory*> memory{nullptr};
  std::uint64_t ripe = 0;
  std::uint64_t mark = 0;
  std::uint64_t mark_cookie = 0;
  std::uint64_t asked = 0;  // the tail when the owner last saw to a grace period

  // The takers'.
  alignas(64) atomic<std::uint32_t> claimed{0};
  atomic<std::uint64_t> moved{0};  // of what `head` has passed
  std::uint64_t tail_seen = 0;     // under the lock

  [[nodiscard]] bool is_empty() const noexcept {
    return head.load_acquire() == tail.load_acquire();  // [B9] pairs with [B8]
  }
};

constinit free_ring all_rings[rings_max];
/// Those ever used; the scans end there. And those in use.
constinit atomic<std::uint32_t> rings_end{0};
constinit atomic<std::uint32_t> rings_used{0};

constinit short_lock rings_lock;

/// From ids to rings: id << 8 | index, in a window that begins at the id; 0 if unused.
constexpr std::size_t index_slots = 256;
constexpr std::size_t index_window = 4;
constinit atomic<std::uint32_t> index_of_rings[index_slots];

atomic<std::uint32_t>& index_slot(std::uint32_t id, std::size_t i) noexcept {
  return index_of_rings[(id + i) % index_slots];
}

free_ring* find_ring(std::uint32_t id) noexcept {
  for (std::size_t i = 0; i < index_window; ++i) {
    const std::uint32_t entry = index_slot(id, i).load_relaxed();
    if (entry >> 8 == id) return &all_rings[entry & 0xff];
  }
  return nullptr;
}

free_ring* own_ring() noexcept {
  const std::uint32_t id = platform::this_task().id.load_relaxed();
  return id == 0 ? nullptr : find_ring(id);
}

bool index_ring(std::uint32_t id, std::size_t ring) noexcept INTERLOCK_REQUIRES(rings_lock) {
  for (std::size_t i = 0; i < index_window; ++i) {
    if (index_slot(id, i).load_relaxed() != 0) continue;
    index_slot(id, i).store_relaxed(id << 8 | static_cast<std::uint32_t>(ring));
    return true;
  }
  return false;
}

void forget_ring(std::uint32_t id) noexcept INTERLOCK_REQUIRES(rings_lock) {
  for (std::size_t i = 0; i < index_window; ++i) {
    if (index_slot(id, i).load_relaxed() >> 8 == id) index_slot(id, i).store_relaxed(0);
  }
}

/// The most that a ring holds; 0 where there are none.
std::uint64_t size_limit() noexcept {
  static constinit atomic<std::uint64_t> known{UINT64_MAX};
  std::uint64_t limit = known.load_relaxed();
  if (limit != UINT64_MAX) [[likely]]
    return limit;
  const long chosen = option_integer("rcu_free_batch", size_default);
  limit = chosen < 2 || !platform::heavy_barrier_is_asymmetric()
              ? 0
              : std::bit_floor(static_cast<std::uint64_t>(chosen));
  if (limit > size_max) limit = size_max;
  known.store_relaxed(limit);
  return limit;
}

/// No interrupt, no spinlock, no signalling section: the allocator may be called.
bool may_allocate() noexcept {
  return preemptible() && platform::this_task().signalling_depth.load_relaxed() == 0;
}

// --- the owner ---

bool enter(free_ring& ring) noexcept {
  if (ring.busy.load_relaxed() != 0) return false;  // R3
  ring.busy.store_relaxed(1);
  platform::light_barrier();               // [B1] pairs with [B2]
  if (ring.claimed.load_acquire() == 0) {  // [B7] pairs with [B6]
    return true;
  }
  ring.busy.store_release(0);
  return false;
}

void leave(free_ring& ring) noexcept { ring.busy.store_release(0); }  // [B3] pairs with [B4]

/// Pre: the caller is inside. False if there is no memory, or no more is wanted.
bool grow(free_ring& ring) noexcept {
  ring_memory* const old = ring.memory.load_relaxed();
  const std::uint64_t limit = size_limit();
  const std::uint64_t first = limit < size_first ? limit : size_first;
  const std::uint64_t size = old == nullptr ? first : 2 * old->size;
  if (size > limit || size == 0) return false;
  auto* const fresh =
      static_cast<ring_memory*>(std::malloc(sizeof(ring_memory) + size * sizeof(rcu_head*)));
  if (fresh == nullptr) return false;
  fresh->size = size;
  const std::uint64_t tail = ring.tail.load_relaxed();
  for (std::uint64_t i = ring.head.load_relaxed(); i != tail; ++i) fresh->at(i) = old->at(i);
  ring.memory.store_release(fresh);  // R5
  std::free(old);
  return true;
}

/// Frees up to `count` of what is ripe. Pre: the caller is inside.
void free_ripe(free_ring& ring, ring_memory& memory, std::uint64_t count) noexcept {
  std::uint64_t head = ring.head.load_relaxed();
  for (; count != 0 && head != ring.ripe; --count) {
    rcu_head& block = *memory.at(head);
    // To be written by free(), a few calls from now. Behind the tail stands what was there before.
    __builtin_prefetch(memory.at(head + prefetched), 1);
    ring.head.store_release(++head);  // before the block may go: R5
    free_block_of(block);
  }
}

/// Looks whether the grace period is over for what waits, and marks what the next one is for. Returns
/// its snapshot if the owner is to see to it that it passes, else 0. Pre: the caller is inside.
std::uint64_t look(free_ring& ring, const ring_memory& memory, std::uint64_t tail) noexcept {
  if (ring.mark != ring.ripe && grace_period_reached(ring.mark_cookie)) ring.ripe = ring.mark;
  const bool asked = ring.asked > ring.ripe;
  const std::uint64_t half = memory.size / 2;
  const std::uint64_t since = asked ? ring.asked : ring.ripe;
  const bool asks = tail - since >= (half < asks_at ? half : asks_at);
  const bool marks =
      ring.mark == ring.ripe && tail - ring.mark >= (half < marks_at ? half : marks_at);
  if (marks || (asks && !asked)) {  // not anew: what was marked would wait for ever later ones
    ring.mark = tail;
    ring.mark_cookie = grace_period_snapshot();
  }
  if (!asks) return 0;
  ring.asked = tail;
  if (half < asks_at) (void)grow(ring);  // a task that gives many asks less often
  return ring.mark_cookie;
}

/// Leads the grace period, which costs one barrier; else leaves it to the worker.
void see_to_grace_period(std::uint64_t snapshot) noexcept {
  if (snapshot == 0) return;
  // One that another gives up meanwhile leaves its number to the next, which is too early then.
  if (!rcu_read_lock_held() && try_grace_period() && grace_period_reached(snapshot)) return;
  request_grace_period(snapshot);
}

// --- the takers ---

/// Moves what it holds to the queue. Pre: the caller is inside, as a taker.
void empty_ring(free_ring& ring) noexcept INTERLOCK_REQUIRES(rings_lock) {
  const std::uint64_t tail = ring.tail.load_relaxed();
  const std::uint64_t head = ring.head.load_relaxed();
  if (head == tail) return;
  ring_memory& memory = *ring.memory.load_relaxed();
  for (std::uint64_t i = head + 1; i != tail; ++i) memory.at(i)->next = memory.at(i - 1);
  enqueue_chain(*memory.at(tail - 1), *memory.at(head), tail - head);
  ring.ripe = ring.mark = tail;
  ring.head.store_release(tail);                                        // [B8] pairs with [B9]
  ring.moved.store_release(ring.moved.load_relaxed() + (tail - head));  // after it: see count_rings
}

bool is_free(const free_ring& ring) noexcept { return ring.busy.load_acquire() == 0; }  // [B4]

/// For a moment. Nobody wakes it: that would cost the owner a test.
void wait_for_owner(const free_ring& ring, unsigned tries) noexcept {
  if (platform::pauses_wait) {
    while (!is_free(ring)) platform::cpu_relax();
  } else if (tries < owner_yields) {
    platform::yield();
  } else {
    platform::park(ring.busy, 1, platform::now() + owner_nap, platform::park_scope::process,
                   platform::deadline_kind::watchdog);
  }
}

struct chosen_rings {
  free_ring* ring[rings_max];
  std::size_t count = 0;
};

/// Claims those for which `wanted`; they are the caller's as soon as their owners are outside.
template <class Wanted>
void claim_rings(chosen_rings& out, Wanted wanted) noexcept INTERLOCK_REQUIRES(rings_lock) {
  const std::uint32_t end = rings_end.load_acquire();
  for (std::uint32_t i = 0; i < end; ++i) {
    free_ring& ring = all_rings[i];
    if (!wanted(ring)) continue;
    ring.claimed.store_relaxed(1);
    out.ring[out.count++] = &ring;
  }
  if (out.count != 0) platform::heavy_barrier();  // [B2] pairs with [B1]
}

void unclaim(free_ring& ring) noexcept { ring.claimed.store_release(0); }  // [B6] pairs with [B7]

/// In a ring that is full, and cannot grow: the shared queue is for what comes. Pre: the caller is inside.
[[gnu::noinline]] bool keep_in_full_ring(free_ring& ring, rcu_head& head) noexcept {
  const bool kept = grow(ring);
  const std::uint64_t tail = ring.tail.load_relaxed();
  std::uint64_t wanted = 0;
  if (kept) {
    ring.memory.load_relaxed()->at(tail) = &head;
    ring.tail.store_release(tail + 1);  // [B5]
  } else if (ring_memory* const memory = ring.memory.load_relaxed(); memory != nullptr) {
    free_ripe(ring, *memory, 2);
    wanted = look(ring, *memory, tail);
  }
  leave(ring);
  see_to_grace_period(wanted);
  return kept;
}

/// False if the caller has no ring or may not use it here. Pre: prepared.
bool keep_in_ring(rcu_head& head) noexcept {
  free_ring* const ring = own_ring();
  if (ring == nullptr || !may_allocate() || !enter(*ring)) return false;
  const std::uint64_t tail = ring->tail.load_relaxed();
  ring_memory* const memory = ring->memory.load_relaxed();
  const std::uint64_t waiting = tail - ring->head.load_relaxed();
  if (memory == nullptr || waiting == memory->size) [[unlikely]] {
    if (!keep_in_full_ring(*ring, head)) return false;
  } else {
    memory->at(tail) = &head;
    ring->tail.store_release(tail + 1);  // [B5]
    // As many as are given: the allocator's cache then has each time what the task wants next.
    free_ripe(*ring, *memory, waiting > many ? 2 : 1);
    std::uint64_t wanted = 0;
    if ((tail & (memory->size - 1) & (looks_each - 1)) == 0)
      wanted = look(*ring, *memory, tail + 1);
    leave(*ring);
    see_to_grace_period(wanted);
  }
  if (tail % backlog_each == 0) look_at_backlog();
  platform::light_barrier();               // [B5]
  attend_to_callbacks(attention::dozing);  // as long as the owner goes on, it frees here
  return true;
}

/// After how many calls a task that has none asks for one; a power of two. 0: never.
std::uint64_t ring_is_made_after() noexcept {
  const std::uint64_t limit = size_limit();
  return limit < made_after ? limit : made_after;
}

/// Gives the calling task a ring, if it can have one.
void make_ring() noexcept {
  if (size_limit() == 0 || !may_allocate() || own_ring() != nullptr) return;
  rcu_read_lock();  // enlists
  rcu_read_unlock();
  const task_words& self = platform::this_task();
  if ((self.rcu.load_relaxed() & rcu_ready) == 0) return;  // R6
  const std::uint32_t id = self.id.load_relaxed();
  if (!rings_lock.try_lock()) return;
  const bool made = find_ring(id) == nullptr;  // else a handler did meanwhile
  std::uint32_t i = 0;
  while (made && i < rings_max && all_rings[i].owner.load_relaxed() != 0) ++i;
  if (made && i < rings_max && index_ring(id, i)) {
    all_rings[i].owner.store_relaxed(id);
    if (i == rings_end.load_relaxed()) rings_end.store_release(i + 1);
    rings_used.store_relaxed(rings_used.load_relaxed() + 1);
  }
  rings_lock.unlock();
  smp_mb();  // [B5]: what the worker has not seen of this, it has announced before
}

}  // namespace

void empty_rings(rings which) noexcept {
  if (!rings_hold_any()) return;
  const short_guard guard{rings_lock};
  const free_ring* const own = own_ring();
  chosen_rings chosen;
  claim_rings(chosen, [&](free_ring& ring) INTERLOCK_REQUIRES(rings_lock) {
    const std::uint64_t tail = ring.tail.load_relaxed();
    const bool stands = tail - ring.tail_seen < marks_at;
    ring.tail_seen = tail;
    return (which == rings::all || stands) && !ring.is_empty() && (&ring != own || is_free(ring));
  });
  for (std::size_t i = 0; i < chosen.count; ++i) {
    if (is_free(*chosen.ring[i])) empty_ring(*chosen.ring[i]);
    unclaim(*chosen.ring[i]);
  }
}

void empty_rings_and_wait() noexcept {
  if (!rings_hold_any()) return;
  std::uint64_t until[rings_max];  // positions: what is given later is not waited for
  const std::uint32_t end = rings_end.load_acquire();
  for (std::uint32_t i = 0; i < end; ++i) until[i] = all_rings[i].tail.load_acquire();
  const free_ring* const own = own_ring();
  const free_ring* held_up = nullptr;
  for (unsigned tries = 0;; ++tries) {
    held_up = nullptr;
    {
      const short_guard guard{rings_lock};
      chosen_rings chosen;
      claim_rings(chosen, [&](const free_ring& ring) INTERLOCK_REQUIRES(rings_lock) {
        const auto i = static_cast<std::size_t>(&ring - all_rings);
        return i < end && ring.head.load_acquire() < until[i] && (&ring != own || is_free(ring));
      });
      for (std::size_t i = 0; i < chosen.count; ++i) {
        if (is_free(*chosen.ring[i])) {
          empty_ring(*chosen.ring[i]);
        } else {
          held_up = chosen.ring[i];
        }
        unclaim(*chosen.ring[i]);
      }
    }
    if (held_up == nullptr) return;
    wait_for_owner(*held_up,
                   tries);  // without the lock: forks, ends of tasks and the worker need it
  }
}

void free_own_ring() noexcept {
  free_ring* const ring = own_ring();
  if (ring == nullptr || ring->is_empty()) return;
  const std::uint64_t end = ring->tail.load_relaxed();
  if (!wait_for_grace_period(grace_period_snapshot(), {})) return;
  bool more = true;
  while (more) {
    if (!enter(*ring)) return;  // a taker has it
    if (ring->ripe < end) ring->ripe = end;
    if (ring->mark < end) ring->mark = end;
    if (ring_memory* const memory = ring->memory.load_relaxed(); memory != nullptr) {
      free_ripe(*ring, *memory, freed_at_once);
    }
    more = ring->head.load_relaxed() < end;
    leave(*ring);
  }
}

bool rings_hold_any() noexcept {
  const std::uint32_t end = rings_end.load_acquire();
  for (std::uint32_t i = 0; i < end; ++i) {
    const free_ring& ring = all_rings[i];
    if (ring.is_empty()) continue;
    if (is_free(ring) || &ring != own_ring())
      return true;  // the own one can be waited for by nobody
  }
  return false;
}

bool rings_exist() noexcept { return rings_used.load_relaxed() != 0; }

/// In this order each of the three is at least the one before.
ring_counts count_rings() noexcept {
  ring_counts out{0, 0};
  const std::uint32_t end = rings_end.load_acquire();
  for (std::uint32_t i = 0; i < end; ++i) {
    const std::uint64_t moved = all_rings[i].moved.load_acquire();
    const std::uint64_t head = all_rings[i].head.load_acquire();
    out.freed += head - moved;
    out.kept += all_rings[i].tail.load_acquire() - moved;
  }
  return out;
}

void shrink_rings() noexcept {
  const short_guard guard{rings_lock};
  chosen_rings chosen;
  claim_rings(chosen, [](const free_ring& ring) { return ring.memory.load_relaxed() != nullptr; });
  for (std::size_t i = 0; i < chosen.count; ++i) {
    free_ring& ring = *chosen.ring[i];
    if (is_free(ring) && ring.is_empty()) {
      ring_memory* const memory = ring.memory.load_relaxed();
      ring.memory.store_relaxed(nullptr);
      std::free(memory);
    }
    unclaim(ring);
  }
}

// --- lifecycle ---

/// Nothing halts the task any more that would enter; where something does, its ring is not found.
void rings_task_exit() noexcept {
  if (!rings_exist()) return;
  const std::uint32_t id = platform::this_task().id.load_relaxed();
  bool moved = false;
  {
    const short_guard guard{rings_lock};
    const std::uint32_t end = rings_end.load_relaxed();
    for (std::uint32_t i = 0; i < end; ++i) {
      free_ring& ring = all_rings[i];
      if (ring.owner.load_relaxed() != id) continue;
      forget_ring(id);
      moved |= !ring.is_empty();
      empty_ring(ring);
      std::free(ring.memory.exchange_relaxed(nullptr));
      ring.busy.store_relaxed(0);
      ring.owner.store_relaxed(0);
      rings_used.store_relaxed(rings_used.load_relaxed() - 1);
    }
  }
  if (moved) attend_to_callbacks();
}

void rings_fork_prepare() noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS { rings_lock.lock(); }
void rings_fork_parent() noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS { rings_lock.unlock(); }

/// The forker's own ring it keeps, under its new id; it may even be inside, halted by the handler that forks.
void rings_fork_child() noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  const task_words& self = platform::this_task();
  for (atomic<std::uint32_t>& entry : index_of_rings) {
    if (entry.load_relaxed() != 0) entry.store_relaxed(0);
  }
  const std::uint32_t end = rings_end.load_relaxed();
  std::uint32_t used = 0;
  for (std::uint32_t i = 0; i < end; ++i) {
    free_ring& ring = all_rings[i];
    ring.claimed.store_relaxed(0);
    const std::uint32_t owner = ring.owner.load_relaxed();
    if (owner != 0 && owner == self.former_id) {
      ++used;
      const std::uint32_t id = self.id.load_relaxed();
      ring.owner.store_relaxed(id);
      (void)index_ring(id, i);  // all of the window is free
      const std::uint64_t tail = ring.tail.load_relaxed();
      for (std::uint64_t p = ring.head.load_relaxed(); p != tail; ++p) {
        (void)note_queued(*ring.memory.load_relaxed()->at(p));
      }
      continue;
    }
    ring.busy.store_relaxed(0);
    ring.owner.store_relaxed(0);
    empty_ring(ring);
    std::free(ring.memory.exchange_relaxed(nullptr));
  }
  rings_used.store_relaxed(used);
  rings_lock.reset();
}

}  // namespace detail

void free_rcu(rcu_head& head, void* block) noexcept {
  using namespace detail;
  const auto offset =
      reinterpret_cast<std::uintptr_t>(&head) - reinterpret_cast<std::uintptr_t>(block);
  INTERLOCK_BUG_ON(offset > largest_offset);
  if (!prepare(head, reinterpret_cast<void (*)(rcu_head*)>(offset))) return;
  if (keep_in_ring(head)) return;
  const std::uint64_t queued = enqueue(head);
  if ((queued & (ring_is_made_after() - 1)) == 0) make_ring();
}

}  // namespace interlock::inline INTERLOCK_PLATFORM
