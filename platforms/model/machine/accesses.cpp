// SPDX-License-Identifier: Apache-2.0

/// Accesses of memory: what they see of each other by the memory orders of C++, and which of them race.
///
/// Source: Flanagan, Freund, "FastTrack" (2009), with a list of accesses per granule in the place of epochs: an access leaves
/// the list when a later one, that it precedes, meets every access that it would meet.

#include <cstdio>
#include <cstring>

#include "machine.hpp"
#include "search.hpp"

namespace interlock::machine {
namespace {

bool acquires(int order) noexcept {
  return order == __ATOMIC_ACQUIRE || order == __ATOMIC_CONSUME || order == __ATOMIC_ACQ_REL ||
         order == __ATOMIC_SEQ_CST;
}
bool releases_(int order) noexcept {
  return order == __ATOMIC_RELEASE || order == __ATOMIC_ACQ_REL || order == __ATOMIC_SEQ_CST;
}

const char* kind_name(bool writes, bool atomic, bool frees) noexcept {
  if (frees) return "free";
  if (atomic) return writes ? "atomic write" : "atomic read";
  return writes ? "write" : "read";
}

}  // namespace

void machine::save_older(std::uintptr_t address, std::size_t size) noexcept {
  each_granule(address, size, [this](std::uint64_t granule, std::uint8_t) {
    location& l = locations.at(granule, stamp);
    if (l.saved) return;
    l.saved = true;
    if (undo.full())
      fail(failure_kind::limit, "an execution overwrites too much memory that is older than it");
    undo.save(granule);
  });
}

void machine::report_heap(std::uintptr_t address, std::size_t size, bool writes,
                          std::uintptr_t pc) noexcept {
  const heap::block* const b = arena.find(address);
  failure_stack[0] = pc;
  if (b != nullptr && b->freed_by != 0) {
    watched_ordinal = b->freed_by;
    fail(failure_kind::memory,
         "BUG: use after free: %s of %zu bytes, %zu bytes into a block of %zu bytes",
         writes ? "write" : "read", size, static_cast<std::size_t>(address - b->address), b->size);
  }
  fail(failure_kind::memory, "BUG: out of bounds: %s of %zu bytes at %p, outside of every block",
       writes ? "write" : "read", size, reinterpret_cast<void*>(address));
}

/// A plain write begins the life of what lies there: an atomic object or a lock that was there before has ended.
void machine::begin_anew(location& l, std::uint64_t granule, std::uint8_t bytes) noexcept {
  for (index* link = &l.releases; *link != no_index;) {
    release_record& r = releases[*link];
    if ((bytes >> r.offset & 1) != 0) {
      *link = r.next;
    } else {
      link = &r.next;
    }
  }
  if (!l.is_lock) return;
  for (unsigned i = 0; i < 8; ++i) {
    if ((bytes >> i & 1) != 0) rules.forget_locks((granule << granule_bits) + i, 1);
  }
}

void machine::check_race(std::uintptr_t address, std::size_t size, bool writes, bool atomic,
                         bool frees, std::uintptr_t pc) noexcept {
  const std::uint32_t ordinal = ++accesses;
  if (ordinal == watched_ordinal) [[unlikely]] {
    watched_depth = capture(watched_stack, pc);
    watched_process = self;
  }
  const unsigned offset = address & (granule_size - 1);
  if (offset + size <= granule_size && !frees) [[likely]] {
    const auto bytes = static_cast<std::uint8_t>(((1u << size) - 1) << offset);
    check_race_at(locations.at(granule_of(address), stamp), bytes, address, size, writes, atomic,
                  false, pc);
    return;
  }
  each_granule(address, size, [&](std::uint64_t granule, std::uint8_t bytes) {
    // What is freed is not used again, and large blocks are seldom used as a whole.
    location* const known = frees ? locations.find(granule, stamp) : &locations.at(granule, stamp);
    if (known != nullptr) check_race_at(*known, bytes, address, size, writes, atomic, frees, pc);
  });
}

inline void machine::check_race_at(location& l, std::uint8_t bytes, std::uintptr_t address,
                                   std::size_t size, bool writes, bool atomic, bool frees,
                                   std::uintptr_t pc) noexcept {
  if (writes && !atomic && (l.releases != no_index || l.is_lock)) begin_anew(l, l.key - 1, bytes);
  const process_id by = self;
  const clock& seen = processes[by].seen;
  index* link = &l.accesses;
  index place = no_index;  // of one that has gone
  while (*link != no_index) {
    access_record& old = records[*link];
    const bool precedes = old.by == by || seen.at[old.by] >= old.epoch;
    if (old.by != by && (old.bytes & bytes) != 0 && (writes || old.writes) &&
        !(atomic && old.atomic)) {
      if (!precedes) report_race(old, address, size, writes, atomic, frees, pc);
      strategy->meets(old.step, old.by);
    }
    const bool covered = (old.bytes & ~bytes) == 0;
    if (precedes && covered && (writes || !old.writes) && (!atomic || old.atomic)) {
      place = *link;
      *link = old.next;
    } else {
      link = &old.next;
    }
  }
  if (place == no_index) {
    if (records.full()) fail(failure_kind::limit, "too many accesses in one execution");
    place = static_cast<index>(records.size());
    records.grow();
  }
  records[place] = {
      seen.at[by], accesses, strategy->steps_taken() - 1, l.accesses, pc, by, bytes, writes,
      atomic,      frees};
  l.accesses = place;
}

void machine::report_race(const access_record& old, std::uintptr_t address, std::size_t size,
                          bool writes, bool atomic, bool frees, std::uintptr_t pc) noexcept {
  race_ordinal = old.ordinal;
  const process& other = processes[old.by];
  failed = failure_kind::data_race;
  const int n =
      std::snprintf(failure_text, sizeof failure_text,
                    "BUG: data-race: %s of %zu bytes at %p by %s %s, %s by %s %s before it",
                    kind_name(writes, atomic, frees), size, reinterpret_cast<void*>(address),
                    me().name, standing{me()}.text, kind_name(old.writes, old.atomic, old.frees),
                    other.name, standing{other}.text);
  failure_size = n < 0 ? 0 : static_cast<std::size_t>(n);
  failure_depth = capture(failure_stack, pc);
  to_host();
}

namespace {

op plain_op(std::uintptr_t address, std::size_t size, bool writes, bool is_volatile,
            std::uintptr_t pc) noexcept {
  return {writes ? op_kind::write : op_kind::read,
          __ATOMIC_RELAXED,
          !is_volatile,
          is_volatile,
          pc,
          {address, static_cast<std::uint32_t>(size), writes},
          {0, 0, false}};
}

}  // namespace

void machine::learn_shared(std::uint64_t granule) noexcept {
  location& l = locations.at(granule, stamp);
  if (l.shared) return;
  l.shared = learned = true;
  if (!shared_granules.full()) shared_granules.push(granule);
}

void machine::plain_access(std::uintptr_t address, std::size_t size, bool writes, bool is_volatile,
                           std::uintptr_t pc) noexcept {
  if (is_bookkeeping(address) || size == 0) return;
  if (is_buffered(address, size, true)) drain(pc);  // the program reads memory itself
  check_heap(address, size, writes, pc);
  bool is_point = is_volatile;
  if (every_access && !is_point) {
    each_granule(address, size, [&](std::uint64_t granule, std::uint8_t) {
      location& l = locations.at(granule, stamp);
      if (l.owner == no_process) l.owner = self;
      if (!l.shared && l.owner != self) learn_shared(granule);
      is_point = is_point || l.shared;
    });
    // A replay has not learned what is shared. It takes all for points, and goes on where it is not told otherwise.
    const bool is_told = strategy->replays();
    if (!is_point || is_told) {
      is_point = !strategy->passes(self);
      if (!is_point && is_told) {
        me().pending = plain_op(address, size, writes, false, pc);
        commit();
      }
    }
  }
  if (is_point) {
    point(plain_op(address, size, writes, is_volatile, pc));
    check_heap(address, size, writes, pc);  // it may have been freed meanwhile
  }
  if (writes) {
    save_old(address, size);
    overwrites(address, size);
  }
  check_race(address, size, writes, is_volatile, false, pc);
}

void machine::atomic_access(op_kind kind, std::uintptr_t address, std::size_t size, int order,
                            std::uintptr_t pc) noexcept {
  if (is_bookkeeping(address)) return;
  const bool writes = kind != op_kind::read;
  if (is_buffered(address, size, false)) drain(pc);  // a part of it
  check_heap(address, size, writes, pc);
  op o{kind,         static_cast<std::uint8_t>(order),
       false,        false,
       pc,           {address, static_cast<std::uint32_t>(size), writes},
       {0, 0, false}};
  if (tso && is_shared(me().cpu))
    o.also = {view_address(me().cpu, address), static_cast<std::uint32_t>(size), writes};
  point(o);
  check_heap(address, size, writes, pc);
  if (writes) {
    save_old(address, size);
    overwrites(address, size);
  }
  check_race(address, size, writes, true, false, pc);
}

release_record* machine::release_of(std::uintptr_t address, bool make) noexcept {
  location& l = locations.at(granule_of(address), stamp);
  const auto offset = static_cast<std::uint8_t>(address & 7);
  for (index i = l.releases; i != no_index; i = releases[i].next) {
    if (releases[i].offset == offset) return &releases[i];
  }
  if (!make) return nullptr;
  if (releases.full()) fail(failure_kind::limit, "too many atomic objects in one execution");
  release_record& r = releases.grow();
  r.offset = offset;
  r.fenced_by = no_process;
  r.next = l.releases;
  r.published.clear();
  l.releases = static_cast<index>(releases.size() - 1);
  return &r;
}

/// An atomic store after a signal fence: carries what that released.
void machine::carry_fence(release_record& r, bool replaces) noexcept {
  const process& p = me();
  if (p.locally_fenced) {
    if (!replaces && r.fenced_by != no_process) {
      r.fenced.join(p.locally_released);
    } else {
      r.fenced = p.locally_released;
    }
    r.fenced_by = self;
  } else if (replaces) {
    r.fenced_by = no_process;
  }
}

/// An atomic load before a signal fence. Only an interrupt and what it has halted pair by these.
void machine::take_fence(process_id by, const clock& fenced) noexcept {
  if (by == no_process || by == self || !same_cpu(by, self)) return;
  process& p = me();
  const bool interrupt =
      p.kind == process::role::interrupt || processes[by].kind == process::role::interrupt;
  if (interrupt) p.locally_acquired.join(fenced);
}

void machine::atomic_loaded(std::uintptr_t address, int order) noexcept {
  const bool local = is_bookkeeping(address);
  if (local && !interrupts_seen) return;
  const release_record* const r = release_of(address, false);
  if (r == nullptr) return;
  take_fence(r->fenced_by, r->fenced);
  if (!local) (acquires(order) ? me().seen : me().acquired).join(r->published);
}

void machine::atomic_stored(std::uintptr_t address, int order) noexcept {
  const bool local = is_bookkeeping(address);
  if (local && !interrupts_seen) return;
  process& p = me();
  release_record& r = *release_of(address, true);
  carry_fence(r, true);
  if (local) return;
  if (releases_(order)) {
    r.published.clear();
    publish(r.published);
  } else {
    // A relaxed store carries what a fence before it has released, and ends every other release sequence.
    r.published = p.released;
  }
}

void machine::atomic_modified(std::uintptr_t address, int order) noexcept {
  const bool local = is_bookkeeping(address);
  if (local && !interrupts_seen) return;
  process& p = me();
  release_record& r = *release_of(address, true);
  take_fence(r.fenced_by, r.fenced);
  carry_fence(r, false);
  if (local) return;
  (acquires(order) ? p.seen : p.acquired).join(r.published);
  if (releases_(order)) {
    publish(r.published);
  } else {
    r.published.join(p.released);
  }
}

void machine::fence(int order, std::uintptr_t pc) noexcept {
  if (order == __ATOMIC_SEQ_CST) drain(pc);
  process& p = me();
  if (acquires(order)) p.seen.join(p.acquired);
  if (releases_(order)) {
    p.released.clear();
    publish(p.released);
  }
}

void machine::signal_fence(int order) noexcept {
  process& p = me();
  if (acquires(order)) p.seen.join(p.locally_acquired);
  if (releases_(order)) {
    p.locally_released = p.seen;
    p.locally_fenced = true;
    ++p.seen.at[self];
  }
}

void machine::heavy_barrier(std::uintptr_t pc) noexcept {
  if (tso) point({op_kind::drain_all, 0, false, false, pc, {0, 0, false}, {0, 0, false}});
  for (unsigned i = 0; i < process_count; ++i) {
    process& p = processes[i];
    if (!p.alive || p.ended) continue;
    p.seen.join(p.acquired);
    p.released = p.seen;
    ++p.seen.at[i];
  }
}

// --- the heap of the execution ---

void* machine::allocate(std::size_t size, std::size_t alignment, std::uintptr_t pc) noexcept {
  void* const memory = arena.allocate(size, alignment);
  if (memory == nullptr) return nullptr;
  heap::block& b = arena.blocks().back();
  b.made_by = ++accesses;
  b.made_at = pc;
  if (b.made_by == watched_ordinal) {
    watched_depth = capture(watched_stack, pc);
    watched_process = self;
  }
  return memory;
}

void machine::memory_goes(std::uintptr_t begin, std::size_t size) noexcept {
  undo.forget(begin, size);
  for (unsigned i = 0; i < process_count; ++i) {
    process& p = processes[i];
    for (unsigned k = 0; k < p.old_count; ++k) {
      if (p.old[k].address - begin < size) p.wrote = true;
    }
  }
  each_granule(begin, size, [this](std::uint64_t granule, std::uint8_t) {
    if (location* const l = locations.find(granule, stamp)) {
      l->accesses = l->releases = no_index;
      l->saved = l->is_lock = false;
    }
  });
}

bool machine::release(void* block, std::uintptr_t pc) noexcept {
  const auto address = reinterpret_cast<std::uintptr_t>(block);
  if (!arena.contains(address)) return false;
  heap::block* const b = arena.find(address);
  if (b == nullptr || b->address != address) {
    fail(failure_kind::memory, "BUG: free of %p, which is not the beginning of a block", block);
  }
  if (b->freed_by != 0) {
    watched_ordinal = b->freed_by;
    fail(failure_kind::memory, "BUG: double free of a block of %zu bytes", b->size);
  }
  check_race(address, b->size, true, false, true, pc);
  b->freed_by = accesses;
  b->freed_at = pc;
  arena.release(*b);
  return true;
}

}  // namespace interlock::machine
