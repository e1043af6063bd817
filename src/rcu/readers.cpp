// SPDX-License-Identifier: Apache-2.0

/// Readers: the slow paths of lock and unlock, the list of readers, the pass of a grace period.
///
/// A thread enlists at its first section by pushing its words onto `arrivals`, without a lock. Who
/// scans moves them to `known`. `task_words::rcu_next` tells how far a thread has come:
///
/// | rcu_next            | meaning                                                               |
/// |---------------------|-----------------------------------------------------------------------|
/// | null                | never seen                                                            |
/// | tagged (bit 0)      | being pushed; may be on `arrivals` already                            |
/// | &gone               | the exit hook has run: never again on a list                          |
/// | else                | on a list; the next one, or &list_end                                 |
///
/// Invariants:
///   I1. Only the thread itself takes rcu_next out of null, once, by CAS. A handler that finds it
///       tagged cannot know whether the push was done.
///   I2. A section of a thread that is not surely on a list is counted by a shared counter, so that
///       every section is covered by exactly one of the two.
///   I3. Whatever a handler does to its thread's word, it leaves with nesting 0 what it found with
///       nesting 0, and leaves alone what it found nested.
///   I4. `list_lock` is held for one step of a scan, never while waiting for a reader.
///   I5. At the beginning of a scan all that arrived before the heavy barrier lie at or behind the
///       cursor. Who arrives later is put before it: it sees what the updater published (G1, G2).
///   I6. A thread on a list has its exit hook before it: its words, which end with it, never stay
///       there. So handlers list no thread; they use the shared counters until its own code does.
///
/// Ordering: [G1]-[G6] see rcupdate.hpp.
///   [E1] the push of a thread; [E2] the scanner takes it. A section with an old pointer passed its
///        light barrier after the push, so by G1 and G2 the scanner sees the push too.
///   [S1] a shared reader counts itself, then passes a full barrier; [S2] the scanner reads the
///        counter after its own (G2): either it sees the count or the reader sees the new pointer.
///   [S3] it uncounts itself by release; [S4] the scanner reads that by acquire.
/// Shared counters come in two, as in SRCU: new readers use the one of `shared_index`. A scan waits
/// for the other to drain, flips the index, and waits for the one that was in use; so readers that
/// come and go cannot starve it. Source: Linux Documentation/RCU, SRCU (the scheme).

#include "rcu/readers.hpp"

#include <cstring>

#include "interlock/report.hpp"
#include "interlock_platform/park.hpp"
#include "interlock_platform/stack_trace.hpp"
#include "rcu/misuse.hpp"
#include "rcu/short_lock.hpp"
#include "sched/task_impl.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::detail {

namespace {

constinit task_words list_end{};  // ends each list
constinit task_words gone{};      // what rcu_next of an ended thread points to

constinit atomic<task_words*> arrivals{&list_end};

constinit short_lock list_lock;
constinit task_words* known INTERLOCK_GUARDED_BY(list_lock) = &list_end;
constinit task_words* cursor INTERLOCK_GUARDED_BY(list_lock) = &list_end;
constinit bool shared_flipped INTERLOCK_GUARDED_BY(list_lock) = false;
constinit bool forker_listed INTERLOCK_GUARDED_BY(list_lock) = false;

constinit atomic<std::uint32_t> shared_index{0};
constinit atomic<std::uint32_t> shared_count[2]{};

// --- the list ---

task_words* tagged(task_words* t) noexcept {
  return reinterpret_cast<task_words*>(reinterpret_cast<std::uintptr_t>(t) | 1);
}
task_words* untagged(task_words* t) noexcept {
  return reinterpret_cast<task_words*>(reinterpret_cast<std::uintptr_t>(t) & ~std::uintptr_t{1});
}
bool is_tagged(const task_words* t) noexcept {
  return (reinterpret_cast<std::uintptr_t>(t) & 1) != 0;
}

task_words* next_of(const task_words& t) noexcept { return untagged(t.rcu_next.load_relaxed()); }

void push_arrival(task_words& t) noexcept {
  task_words* first = arrivals.load_relaxed();
  do {
    t.rcu_next.store_relaxed(tagged(first));
  } while (!arrivals.compare_exchange_seq_cst(first, &t));  // [E1] pairs with [E2]
  // A scanner that took it meanwhile has set the link, untagged, and then this changes nothing.
  task_words* expected = tagged(first);
  t.rcu_next.compare_exchange_relaxed(expected, first);
}

/// True if the exit hook will run: the caller is enlisted, and did not come so late, in a handler
/// on the last instructions of a thread that was unknown till then, that nobody will call the hook.
/// Whether it is in a handler costs a walk of the stack. So that is looked at in the first section
/// of a thread, the second, the fourth, and so on: one whose handlers read, and nobody else, pays
/// for the shared counters only, and when it reads itself it is listed after as many sections more.
bool will_exit(task_words& self) noexcept {
  platform::enlist();
  if (self.life.load_relaxed() != static_cast<std::uint32_t>(task_life::enlisted)) return false;
  const auto sections = static_cast<std::uint16_t>(self.rcu_unlisted.load_relaxed() + 1);
  self.rcu_unlisted.store_relaxed(sections);
  return (sections & (sections - 1)) == 0 && !platform::may_be_in_signal_handler();
}

/// Puts the caller on the list if it can be. False if it is not surely there (I2).
bool is_listed(task_words& self) noexcept {
  task_words* next = self.rcu_next.load_relaxed();
  if (next == nullptr) {
    if (!will_exit(self)) return false;
    if (self.rcu_next.compare_exchange_relaxed(next, tagged(&list_end))) {
      push_arrival(self);
      return true;
    }
  }
  return !is_tagged(next) && next != &gone;
}

void take_arrivals() noexcept INTERLOCK_REQUIRES(list_lock) {
  task_words* t = arrivals.exchange_acq_rel(&list_end);  // [E2] pairs with [E1]
  while (t != &list_end) {
    task_words* const next = next_of(*t);
    t->rcu_next.store_relaxed(known);
    known = t;
    t = next;
  }
}

void unlink(task_words& self) noexcept INTERLOCK_REQUIRES(list_lock) {
  take_arrivals();
  task_words* const next = next_of(self);
  if (cursor == &self) cursor = next;
  if (known == &self) {
    known = next;
    return;
  }
  task_words* t = known;
  while (next_of(*t) != &self) t = next_of(*t);
  t->rcu_next.store_relaxed(next);
}

// --- shared counters ---

void lock_shared(task_words& self) noexcept {
  const std::uint32_t index = shared_index.load_relaxed();
  shared_count[index].fetch_add_seq_cst(1);  // [S1] pairs with [S2]
  // A handler that lands here finds an idle word, and counts itself.
  self.rcu.store_release(rcu_shared | std::uint64_t{index} << rcu_shared_index_shift | 1);  // [G3]
  smp_mb();                                                                                 // [S1]
}

void unlock_shared(task_words& self, std::uint64_t seen) noexcept {
  const auto index = static_cast<std::uint32_t>(seen >> rcu_shared_index_shift) & 1;
  // Idle first: a handler that lands here must not nest in a section that counts no more.
  self.rcu.store_release(0);                 // [G3] pairs with [G4]
  shared_count[index].fetch_sub_release(1);  // [S3] pairs with [S4]
}

bool shared_readers_done() noexcept INTERLOCK_REQUIRES(list_lock) {
  const std::uint32_t first = shared_count[0].load_acquire();  // [S2] and [S4] pair with [S1], [S3]
  const std::uint32_t second = shared_count[1].load_acquire();  // [S2] and [S4]
  if ((first | second) == 0) [[likely]]
    return true;
  const std::uint32_t index = shared_index.load_relaxed();
  const std::uint32_t other = index == 0 ? second : first;
  if (other != 0) return false;
  if (shared_flipped) return true;
  shared_flipped = true;
  shared_index.store_relaxed(index ^ 1);
  smp_mb();  // readers that count themselves from here on use the other one
  return shared_count[index].load_acquire() == 0;  // [S4] pairs with [S3]
}

// --- reports ---

void describe(const task_words& t, stalled_reader& out) noexcept {
  const std::uint64_t word = t.rcu.load_acquire();  // [G4] also what the reader wrote to its task
  out.id = t.id.load_relaxed();
  out.nesting = static_cast<std::uint32_t>(word & rcu_nesting_mask);
  const task* const named = static_cast<const task*>(t.task.load_relaxed());
  std::memset(out.name, 0, sizeof out.name);
  if (named != nullptr) std::memcpy(out.name, named->name, sizeof out.name);
}

}  // namespace

void rcu_read_lock_slow() noexcept {
  task_words& self = platform::this_task();
  const std::uint64_t seen = self.rcu.load_relaxed();
  const std::uint64_t nesting = seen & rcu_nesting_mask;
  if (nesting != 0) {
    INTERLOCK_BUG_ON(nesting == rcu_nesting_mask && "rcu_read_lock nesting");
    self.rcu.store_release(seen + 1);  // [G3] pairs with [G4]
    return;
  }
  if (!is_listed(self)) {
    lock_shared(self);
    return;
  }
  const std::uint64_t word = rcu_reader_word.word.load_acquire();  // [G5] pairs with [G6]
  if (platform::heavy_barrier_is_asymmetric()) {
    self.rcu.store_release(word);  // [G3] pairs with [G4]
    return;
  }
  self.rcu.store_release(word & ~rcu_ready);  // [G3] pairs with [G4]
  smp_mb();                                   // [G1] pairs with [G2], which is one too
}

void rcu_read_unlock_slow() noexcept {
  task_words& self = platform::this_task();
  const std::uint64_t seen = self.rcu.load_relaxed();
  const std::uint64_t nesting = seen & rcu_nesting_mask;
  if (nesting == 0) {
    report_unlock_underflow();
  } else if (nesting == 1 && (seen & rcu_shared) != 0) {
    unlock_shared(self, seen);
  } else {
    self.rcu.store_release(seen - 1);  // [G3] pairs with [G4]
  }
}

std::uint32_t leave_all_readers() noexcept {
  atomic<std::uint64_t>& word = platform::this_task().rcu;
  const std::uint64_t seen = word.load_relaxed();
  const std::uint64_t nesting = seen & rcu_nesting_mask;
  if (nesting == 0) return 0;
  word.store_release(seen - (nesting - 1));  // [G3] pairs with [G4]
  rcu_read_unlock();
  return static_cast<std::uint32_t>(nesting);
}

void reenter_readers(std::uint32_t nesting) noexcept {
  if (nesting == 0) return;
  rcu_read_lock();
  atomic<std::uint64_t>& word = platform::this_task().rcu;
  word.store_release(word.load_relaxed() + (nesting - 1));  // [G3] pairs with [G4]
}

void begin_scan() noexcept {
  const short_guard guard{list_lock};
  take_arrivals();
  cursor = known;
  shared_flipped = false;
}

bool scan_readers(std::uint64_t target) noexcept {
  const short_guard guard{list_lock};
  while (cursor != &list_end) {
    if (is_older_reader(cursor->rcu.load_acquire(), target)) return false;  // [G4] pairs with [G3]
    cursor = next_of(*cursor);
  }
  return shared_readers_done();
}

/// The lock is held while the first one answers, at most 100 ms: its exit hook must wait for that.
void find_stalled_readers(std::uint64_t target, stalled_readers& found) noexcept {
  const short_guard guard{list_lock};
  for (task_words* t = cursor; t != &list_end; t = next_of(*t)) {
    if (!is_older_reader(t->rcu.load_acquire(), target)) continue;  // [G4] pairs with [G3]
    found.more = found.count == stalled_readers::capacity;
    if (found.more) break;
    describe(*t, found.list[found.count++]);
  }
  if (found.count != 0) {
    found.frame_count = platform::capture_remote_stack(found.list[0].id, found.frames,
                                                       sizeof found.frames / sizeof(void*));
  } else if (!shared_readers_done()) {
    found.list[found.count++] = stalled_reader{0, 1, {}};
  }
}

// --- lifecycle ---

void readers_task_exit() noexcept {
  task_words& self = platform::this_task();
  if ((self.rcu.load_relaxed() & rcu_nesting_mask) != 0) {
    report_exit_in_reader();
    (void)leave_all_readers();
  }
  if (self.rcu_next.load_relaxed() != nullptr) {
    const short_guard guard{list_lock};
    unlink(self);
  }
  self.rcu_next.store_relaxed(&gone);
  self.rcu.store_release(0);  // not ready: hooks of lower layers, and late destructors, use [S1]
}

void readers_fork_prepare() noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {  // until fork_parent
  if (rcu_read_lock_held()) report_fork_in_reader();
  list_lock.lock();
  take_arrivals();
  const task_words* t = known;
  while (t != &list_end && t != &platform::this_task()) t = next_of(*t);
  forker_listed = t != &list_end;
}

void readers_fork_parent() noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS { list_lock.unlock(); }

/// Of all readers only the caller is left, on a list of its own.
void readers_fork_child() noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  task_words& self = platform::this_task();
  arrivals.store_relaxed(&list_end);
  known = cursor = &list_end;
  if (forker_listed) {
    self.rcu_next.store_relaxed(&list_end);
    known = &self;
  }
  shared_count[0].store_relaxed(0);
  shared_count[1].store_relaxed(0);
  const std::uint64_t word = self.rcu.load_relaxed();
  if ((word & rcu_shared) != 0) {
    shared_count[(word >> rcu_shared_index_shift) & 1].store_relaxed(1);
  }
  list_lock.reset();
}

}  // namespace interlock::inline INTERLOCK_PLATFORM::detail
