// SPDX-License-Identifier: Apache-2.0

/// The tables of lock_graph.hpp.
///
/// Ordering: [C1] publishes a class by its index, in the table of identities or in a lock's entry; [C2]
///           finds it whole.
/// Source: Linux Documentation/locking/lockdep-design.rst (what is an inversion, and why by classes).

#include "lock_graph.hpp"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

namespace interlock::inline INTERLOCK_PLATFORM::platform::validator {

constinit private_lock graph_lock;

namespace {

// --- tables ---

constexpr std::uint32_t identities_size = 1u << 14;
constexpr std::uint32_t known_size = 1u << 17;
constexpr std::uint32_t known_max = known_size / 4 * 3;
constexpr unsigned locks_bits = 18;
constexpr std::uint32_t locks_size = 1u << locks_bits;
constexpr unsigned lock_probes = 32;
constexpr std::uint32_t nestings_end = 1u << 13;
constexpr std::uint32_t nesting_buckets = 1u << 10;
constexpr std::size_t strings_size = 1u << 18;
constexpr std::uint32_t strings_end = 1u << 12;
constexpr std::uint32_t told_end = 1u << 10;

/// Two locks of one class, in the order in which they were taken.
struct nesting {
  const void *outer, *inner;
  std::uint32_t next_outer, next_inner;  ///< of the same bucket; the first also links free ones
  bool closes_cycle;                     ///< told, and not looked at further
  location where;                        ///< the inner one was taken
};

constinit class_record classes[classes_end] = {};
constinit std::uint32_t class_count = 1;  // 0: none
constinit atomic<std::uint32_t> identities[identities_size] = {};
constinit order_record orders[orders_end] = {};
constinit std::uint32_t order_count = 1;  // 0: none
constinit atomic<std::uint32_t> known[known_size] = {};
constinit std::uint32_t known_count = 0;
/// address / 4 << 16 | nested << 15 | class. Nothing is ever taken out, but it may be replaced.
constinit atomic<std::uint64_t> locks[locks_size] = {};
constinit nesting nestings[nestings_end] = {};
constinit std::uint32_t nesting_count = 1;  // 0: none
constinit std::uint32_t free_nesting = 0;
/// Hashes of pairs that are known, and of the generation: so that most pairs are looked up without the lock.
constinit atomic<std::uint64_t> recent_nestings[nesting_buckets] = {};
constinit atomic<std::uint32_t> nesting_generation{1};  ///< changes when one is forgotten
constinit std::uint32_t by_outer[nesting_buckets] = {};
constinit std::uint32_t by_inner[nesting_buckets] = {};
constinit char strings[strings_size] = {};
constinit std::size_t strings_used = 0;
constinit const char* string_at[strings_end] = {};
/// Pairs that were told of, safe << 16 | unsafe << 1 | line.
constinit std::uint32_t told[told_end] = {};
constinit std::uint32_t told_count = 0;

constinit std::uint32_t search_count = 0;
constinit class_index queue[classes_end] = {};

constinit atomic<std::uint32_t> off{0};
constinit atomic<const char*> limit{nullptr};

constinit unsigned long fork_mask = 0;  ///< of the forking thread; with graph_lock
thread_local constinit bool has_graph [[gnu::tls_model("initial-exec")]] = false;

static_assert(sizeof(unsigned long) == 8, "the kernel's signal mask is one word");

unsigned long block_signals() noexcept {
  constexpr unsigned long all = ~0ul;
  unsigned long before = 0;
  // The system call itself: glibc's wrapper leaves out the signals that it uses.
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, sizeof before);
  return before;
}

void restore_signals(unsigned long mask) noexcept {
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, nullptr, sizeof mask);
}

std::uint64_t mix(std::uint64_t x) noexcept {
  x ^= x >> 32;
  x *= 0x9e37'79b9'7f4a'7c15u;
  return x ^ x >> 29;
}

bool same_text(const char* a, const char* b) noexcept {
  if (a == b) return true;
  return a != nullptr && b != nullptr && std::strcmp(a, b) == 0;
}

/// The text, kept here; null if there is no room.
const char* keep(const char* text) noexcept {
  if (text == nullptr) return nullptr;
  std::uint64_t hash = 1;
  for (const char* c = text; *c != '\0'; ++c) hash = hash * 31 + static_cast<unsigned char>(*c);
  for (std::uint32_t i = 0; i < strings_end; ++i) {
    const char*& slot = string_at[(mix(hash) + i) % strings_end];
    if (slot == nullptr) {
      const std::size_t size = std::strlen(text) + 1;
      if (strings_size - strings_used < size) return nullptr;
      slot = static_cast<const char*>(std::memcpy(strings + strings_used, text, size));
      strings_used += size;
    }
    if (std::strcmp(slot, text) == 0) return slot;
  }
  return nullptr;
}

trace kept(const trace& at) noexcept {
  trace own = at;
  own.where.file = keep(at.where.file);
  return own;
}

// --- searches ---

/// Breadth first, so that the story is short: the nearest class that matches, `start` included.
template <class Match>
class_index search(class_index start, bool forward, Match matches) noexcept {
  const std::uint32_t number = ++search_count;
  std::uint32_t first = 0;
  std::uint32_t last = 0;
  queue[last++] = start;
  classes[start].search = number;
  classes[start].by_order = 0;
  while (first != last) {
    const class_index here = queue[first++];
    if (matches(here)) return here;
    std::uint32_t o = forward ? classes[here].first_out : classes[here].first_in;
    for (; o != 0; o = forward ? orders[o].next_out : orders[o].next_in) {
      const class_index there = forward ? orders[o].to : orders[o].from;
      if (classes[there].search == number) continue;
      classes[there].search = number;
      classes[there].by_order = o;
      queue[last++] = there;
    }
  }
  return 0;
}

/// Puts the way that the last search has found before what the story has, if it was backward, or behind.
void tell_way(story& s, class_index found, bool forward) noexcept {
  std::uint32_t list[story::steps_max];
  unsigned count = 0;
  for (class_index c = found; classes[c].by_order != 0;) {
    const std::uint32_t o = classes[c].by_order;
    if (count == story::steps_max - s.steps) {
      s.cut = true;
      break;
    }
    list[count++] = o;
    c = forward ? orders[o].from : orders[o].to;
  }
  // A forward search's way is found from its end; a backward one's from its beginning.
  for (unsigned i = 0; i < count; ++i) {
    const order_record& o = orders[list[forward ? count - 1 - i : i]];
    s.way[s.steps++] = {o.from, o.to, o.at};
  }
}

// --- orders ---

std::uint32_t order_word(class_index from, class_index to) noexcept {
  return from << class_bits | to;
}

void remember_order(class_index from, class_index to) noexcept {
  const std::uint32_t word = order_word(from, to);
  if (known_count == known_max) return reach_limit("MAX_LOCKDEP_CHAINS");
  for (std::uint64_t i = mix(word);; ++i) {
    atomic<std::uint32_t>& slot = known[i % known_size];
    if (slot.load_relaxed() != 0) continue;
    ++known_count;
    slot.store_relaxed(word);
    return;
  }
}

/// Tells of a pair once.
bool is_news(class_index safe, class_index unsafe, unsigned line) noexcept {
  const std::uint32_t word = safe << 16 | unsafe << 1 | line;
  for (std::uint32_t i = 0; i < told_count; ++i) {
    if (told[i] == word) return false;
  }
  if (told_count == told_end) {
    reach_limit("MAX_LOCKDEP_REPORTS");
    return false;
  }
  told[told_count++] = word;
  return true;
}

bool is_used(class_index c, std::uint32_t bit) noexcept {
  return (classes[c].used.load_relaxed() & bit) != 0;
}

const trace& used_at(class_index c, std::uint32_t bit) noexcept {
  return classes[c].used_at[__builtin_ctz(bit)];
}

/// Whether the order that was just added joins one that interrupts take with one that they can halt.
void check_new_order(class_index from, class_index to, const trace& at, stories& found) noexcept {
  for (unsigned line = 0; line < 2; ++line) {
    story& s = found[line];
    const class_index safe =
        search(from, false, [line](class_index c) { return is_used(c, usage::in[line]); });
    if (safe == 0) continue;
    tell_way(s, safe, false);
    const class_index unsafe =
        search(to, true, [line](class_index c) { return is_used(c, usage::on[line]); });
    if (unsafe == 0 || !is_news(safe, unsafe, line)) continue;
    if (s.steps < story::steps_max) s.way[s.steps++] = {from, to, at};
    tell_way(s, unsafe, true);
    s.is = story::kind::new_order;
    s.held = from;
    s.wanted = to;
    s.line = line;
    s.safe = safe;
    s.unsafe = unsafe;
    s.safe_at = used_at(safe, usage::in[line]);
    s.unsafe_at = used_at(unsafe, usage::on[line]);
  }
}

// --- locks of one class ---

std::uint32_t bucket_of(const void* lock) noexcept {
  return mix(reinterpret_cast<std::uintptr_t>(lock) >> 2) % nesting_buckets;
}

std::uint64_t nesting_word(const void* outer, const void* inner) noexcept {
  return mix(reinterpret_cast<std::uintptr_t>(outer) * 3 + reinterpret_cast<std::uintptr_t>(inner) +
             (std::uint64_t{nesting_generation.load_relaxed()} << 48));
}

const nesting* find_nesting(const void* outer, const void* inner) noexcept {
  for (std::uint32_t n = by_outer[bucket_of(outer)]; n != 0; n = nestings[n].next_outer) {
    if (nestings[n].outer == outer && nestings[n].inner == inner) return &nestings[n];
  }
  return nullptr;
}

/// The first step of a way by which `to` is taken with `from` held; 0: none. A search that gets long gives up.
std::uint32_t find_way(const void* from, const void* to) noexcept {
  constexpr unsigned visits_max = 256;
  const void* visited[visits_max];
  std::uint32_t first_step[visits_max];
  unsigned count = 0;
  visited[count++] = from;
  for (unsigned i = 0; i < count; ++i) {
    for (std::uint32_t n = by_outer[bucket_of(visited[i])]; n != 0; n = nestings[n].next_outer) {
      const nesting& step = nestings[n];
      if (step.outer != visited[i] || step.closes_cycle) continue;
      const std::uint32_t first = i == 0 ? n : first_step[i];
      if (step.inner == to) return first;
      bool seen = false;
      for (unsigned k = 0; k < count && !seen; ++k) seen = visited[k] == step.inner;
      if (seen) continue;
      if (count == visits_max) return 0;
      first_step[count] = first;
      visited[count++] = step.inner;
    }
  }
  return 0;
}

void unlink_from(std::uint32_t& head, std::uint32_t which, std::uint32_t nesting::*next) noexcept {
  std::uint32_t* link = &head;
  while (*link != which) link = &(nestings[*link].*next);
  *link = nestings[which].*next;
}

void forget_nesting(std::uint32_t n) noexcept {
  nesting_generation.fetch_add_relaxed(1);
  unlink_from(by_outer[bucket_of(nestings[n].outer)], n, &nesting::next_outer);
  unlink_from(by_inner[bucket_of(nestings[n].inner)], n, &nesting::next_inner);
  nestings[n].next_outer = free_nesting;
  free_nesting = n;
}

/// Another lock is at this address.
void forget_nestings_of(const void* lock) noexcept {
  const std::uint32_t bucket = bucket_of(lock);
  for (std::uint32_t n = by_outer[bucket]; n != 0;) {
    const std::uint32_t next = nestings[n].next_outer;
    if (nestings[n].outer == lock) forget_nesting(n);
    n = next;
  }
  for (std::uint32_t n = by_inner[bucket]; n != 0;) {
    const std::uint32_t next = nestings[n].next_inner;
    if (nestings[n].inner == lock) forget_nesting(n);
    n = next;
  }
}

std::uint32_t new_nesting() noexcept {
  if (free_nesting != 0) {
    const std::uint32_t n = free_nesting;
    free_nesting = nestings[n].next_outer;
    return n;
  }
  if (nesting_count < nestings_end) return nesting_count++;
  // Full: all are learned anew. Orders of single locks are many, and less is found at worst.
  nesting_generation.fetch_add_relaxed(1);
  std::memset(by_outer, 0, sizeof by_outer);
  std::memset(by_inner, 0, sizeof by_inner);
  free_nesting = 0;
  nesting_count = 2;
  return 1;
}

// --- which lock is of which class ---

constexpr std::uint64_t nested_flag = 1u << 15;
constexpr std::uint64_t class_mask = classes_end - 1;
constexpr unsigned address_shift = 16;

/// 0 for an address that does not fit; no lock has one.
std::uint64_t lock_key(const void* lock) noexcept {
  const auto address = reinterpret_cast<std::uintptr_t>(lock);
  return address >> 48 != 0 ? 0 : address >> 2 << address_shift;
}

bool is_of(std::uint64_t entry, std::uint64_t key) noexcept {
  return (entry & ~std::uint64_t{0xffff}) == key;
}

std::uint64_t place_of(std::uint64_t key) noexcept {
  return mix(key >> address_shift) >> (64 - locks_bits - 16);
}

atomic<std::uint64_t>* find_entry(std::uint64_t key) noexcept {
  const std::uint64_t place = place_of(key);
  for (unsigned i = 0; i < lock_probes; ++i) {
    atomic<std::uint64_t>& slot = locks[(place + i) % locks_size];
    const std::uint64_t entry = slot.load_acquire();  // [C2] pairs with [C1]
    if (entry == 0) return nullptr;
    if (is_of(entry, key)) return &slot;
  }
  return nullptr;
}

void replaced(std::uint64_t entry) noexcept {
  if ((entry & nested_flag) == 0 || in_graph()) return;
  const graph_guard guard;
  forget_nestings_of(reinterpret_cast<const void*>(entry >> address_shift << 2));
}

std::uint64_t identity_hash(const class_identity& i) noexcept {
  return mix(i.code + static_cast<std::uint64_t>(i.line) * 0x1'0000'0001u) +
         static_cast<std::uint64_t>(i.is);
}

bool same_place(const class_identity& a, const class_identity& b) noexcept {
  return a.line == b.line && same_text(a.file, b.file) && same_text(a.part, b.part);
}

}  // namespace

graph_guard::graph_guard() noexcept : mask_{block_signals()} {
  has_graph = true;
  graph_lock.lock();
}
graph_guard::~graph_guard() {
  graph_lock.unlock();
  has_graph = false;
  restore_signals(mask_);
}

void hold_graph() noexcept {
  const unsigned long mask = block_signals();
  has_graph = true;
  graph_lock.lock();
  fork_mask = mask;
}
void let_graph_go() noexcept {
  const unsigned long mask = fork_mask;
  graph_lock.unlock();
  has_graph = false;
  restore_signals(mask);
}
bool in_graph() noexcept { return has_graph; }

bool is_on() noexcept { return off.load_relaxed() == 0; }

void reach_limit(const char* which) noexcept {
  if (off.exchange_relaxed(1) != 0) return;
  limit.store_release(which);  // [L1] pairs with [L2]
}

const char* take_limit() noexcept {
  if (limit.load_relaxed() == nullptr) return nullptr;
  return limit.exchange_acquire(nullptr);  // [L2] pairs with [L1]
}

const class_record& class_at(class_index index) noexcept { return classes[index]; }

void say_it_sleeps(class_index index) noexcept {
  atomic<std::uint32_t>& sleeps = classes[index].sleeps;
  if (sleeps.load_relaxed() == 0) sleeps.store_relaxed(1);
}

class_index class_of(const void* lock) noexcept {
  const std::uint64_t key = lock_key(lock);
  if (key == 0) return 0;
  const std::uint64_t place = place_of(key);
  for (unsigned i = 0; i < lock_probes; ++i) {
    const std::uint64_t entry =
        locks[(place + i) % locks_size].load_acquire();  // [C2] pairs with [C1]
    if (entry == 0) return 0;
    if (is_of(entry, key)) return static_cast<class_index>(entry & class_mask);
  }
  return 0;
}

/// Only one thread constructs a lock at a time, so nobody else enters this one. Entries of other locks may be
/// written meanwhile: whoever finds no room replaces one, whose lock is not looked after any more.
void set_class_of(const void* lock, class_index index) noexcept {
  const std::uint64_t key = lock_key(lock);
  if (key == 0) return;
  const std::uint64_t wanted = key | index;
  if (atomic<std::uint64_t>* const slot = find_entry(key)) {
    std::uint64_t entry = slot->load_relaxed();
    while (is_of(entry, key)) {
      if (!slot->compare_exchange_release(entry, wanted)) continue;  // [C1] pairs with [C2]
      replaced(entry);
      return;
    }
  }
  const std::uint64_t place = place_of(key);
  for (unsigned i = 0; i < lock_probes; ++i) {
    std::uint64_t entry = 0;
    atomic<std::uint64_t>& slot = locks[(place + i) % locks_size];
    if (slot.compare_exchange_release(entry, wanted)) return;  // [C1] pairs with [C2]
    if (is_of(entry, key)) return;  // another thread has met the same variable first
  }
  atomic<std::uint64_t>& victim = locks[(place + mix(key + index) % lock_probes) % locks_size];
  replaced(victim.exchange_acq_rel(wanted));  // [C1] pairs with [C2]
}

class_index find_class(const class_identity& identity) noexcept {
  const std::uint64_t place = identity_hash(identity);
  for (std::uint64_t i = 0; i < identities_size; ++i) {
    const class_index c =
        identities[(place + i) % identities_size].load_acquire();  // [C2] pairs with [C1]
    if (c == 0) return 0;
    const class_identity& there = classes[c].identity;
    if (there.is == identity.is && there.code == identity.code && there.unit == identity.unit &&
        same_place(there, identity))
      return c;
  }
  return 0;
}

bool may_be_one(class_index a, class_index b) noexcept {
  const class_identity& one = classes[a].identity;
  const class_identity& other = classes[b].identity;
  if (one.file == nullptr || other.file == nullptr || !same_place(one, other)) return false;
  return one.is == class_identity::kind::stack || one.unit != other.unit;
}

class_index make_class(const class_identity& identity, const char* name) noexcept {
  const graph_guard guard;
  if (const class_index there = find_class(identity)) return there;
  if (class_count == classes_end) {
    reach_limit("MAX_LOCKDEP_KEYS");
    return 0;
  }
  class_identity own = identity;
  own.file = keep(identity.file);
  own.part = keep(identity.part);
  const char* const own_name = keep(name);
  if (same_text(own.file, identity.file) && same_text(own.part, identity.part) &&
      same_text(own_name, name)) {
    const class_index c = class_count++;
    classes[c].identity = own;
    classes[c].name = own_name;
    classes[c].version = 1;
    if (own.file != nullptr) {
      for (class_index other = 1; other < c; ++other)
        if (same_place(classes[other].identity, own)) ++classes[c].version;
    }
    for (std::uint64_t i = identity_hash(own);; ++i) {
      atomic<std::uint32_t>& slot = identities[i % identities_size];
      if (slot.load_relaxed() != 0) continue;
      slot.store_release(c);  // [C1] pairs with [C2]
      return c;
    }
  }
  reach_limit("MAX_LOCKDEP_NAMES");
  return 0;
}

bool order_is_known(class_index from, class_index to) noexcept {
  const std::uint32_t word = order_word(from, to);
  for (std::uint64_t i = mix(word);; ++i) {
    // Relaxed: what it says is all that is wanted of it.
    const std::uint32_t seen = known[i % known_size].load_relaxed();
    if (seen == word) return true;
    if (seen == 0) return false;
  }
}

void add_order(class_index from, class_index to, const trace& at, stories& found) noexcept {
  const graph_guard guard;
  if (order_is_known(from, to)) return;
  remember_order(from, to);
  const trace own = kept(at);
  if (search(to, true, [from](class_index c) { return c == from; }) != 0) {
    story& s = found[0];
    s.is = story::kind::cycle;
    s.held = from;
    s.wanted = to;
    tell_way(s, from, true);
    return;  // G4
  }
  if (order_count == orders_end) return reach_limit("MAX_LOCKDEP_ENTRIES");
  order_record& o = orders[order_count];
  o = {from, to, classes[from].first_out, classes[to].first_in, own};
  classes[from].first_out = classes[to].first_in = order_count++;
  check_new_order(from, to, own, found);
}

bool nesting_is_known(const void* outer, const void* inner) noexcept {
  const std::uint64_t word = nesting_word(outer, inner);
  return recent_nestings[word % nesting_buckets].load_relaxed() == word;
}

void add_nesting(class_index index, const void* outer, const void* inner, const trace& at,
                 stories& found) noexcept {
  const graph_guard guard;
  const std::uint64_t word = nesting_word(outer, inner);
  if (find_nesting(outer, inner) != nullptr) {
    recent_nestings[word % nesting_buckets].store_relaxed(word);
    return;
  }
  const std::uint32_t way = find_way(inner, outer);
  trace back{};
  if (way != 0) back.where = nestings[way].where;
  const trace own = kept(at);
  const std::uint32_t n = new_nesting();
  const std::uint32_t out = bucket_of(outer);
  const std::uint32_t in = bucket_of(inner);
  nestings[n] = {outer, inner, by_outer[out], by_inner[in], way != 0, own.where};
  by_outer[out] = by_inner[in] = n;
  for (const void* lock : {outer, inner}) {
    const std::uint64_t key = lock_key(lock);
    if (atomic<std::uint64_t>* const slot = find_entry(key)) {
      std::uint64_t entry = slot->load_relaxed();
      while (is_of(entry, key) && !slot->compare_exchange_relaxed(entry, entry | nested_flag)) {
      }
    }
  }
  if (way == 0 || classes[index].nesting_reported) return;
  classes[index].nesting_reported = true;
  story& s = found[0];
  s.is = story::kind::cycle_in_class;
  s.held = s.wanted = index;
  s.outer = outer;
  s.way[s.steps++] = {index, index, back};
}

void add_usage(class_index index, std::uint32_t bits, const trace& at, stories& found) noexcept {
  const graph_guard guard;
  class_record& c = classes[index];
  const std::uint32_t before = c.used.load_relaxed();
  const std::uint32_t news = bits & ~before;
  if (news == 0) return;
  const trace own = kept(at);
  for (std::uint32_t rest = news; rest != 0; rest &= rest - 1) c.used_at[__builtin_ctz(rest)] = own;
  c.used.store_relaxed(before | news);
  for (unsigned line = 0; line < 2; ++line) {
    const std::uint32_t in = usage::in[line];
    const std::uint32_t on = usage::on[line];
    if ((news & (in | on)) == 0) continue;
    story& s = found[line];
    const bool new_is_use = (news & in) != 0;
    if (is_used(index, in) && is_used(index, on)) {
      if (!is_news(index, index, line)) continue;
      s.is = story::kind::state;
      s.safe = s.unsafe = index;
    } else {
      const std::uint32_t wrong = new_is_use ? on : in;
      const class_index other =
          search(index, new_is_use, [wrong](class_index there) { return is_used(there, wrong); });
      if (other == 0) continue;
      s.safe = new_is_use ? index : other;
      s.unsafe = new_is_use ? other : index;
      if (!is_news(s.safe, s.unsafe, line)) continue;
      s.is = story::kind::new_state;
      tell_way(s, other, new_is_use);
    }
    s.line = line;
    s.new_is_use = new_is_use;
    s.safe_at = used_at(s.safe, in);
    s.unsafe_at = used_at(s.unsafe, on);
  }
}

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform::validator
