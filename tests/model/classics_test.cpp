// SPDX-License-Identifier: Apache-2.0

/// Algorithms of the literature: the correct one passes in all its executions, its broken twin is found.

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <thread>

#include "interlock/interlock.hpp"
#include "interlock/llist.hpp"
#include "interlock/model/explore.hpp"

namespace {

using namespace interlock;

constexpr auto relaxed = std::memory_order_relaxed;
constexpr auto acquire = std::memory_order_acquire;
constexpr auto release = std::memory_order_release;
constexpr auto seq_cst = std::memory_order_seq_cst;

bool says(const model::report& r, const char* what) {
  return !r.passed() && r.text().find(what) != std::string::npos;
}
bool holds(const model::report& r) { return r.passed() && r.complete(); }

void must(bool condition) {
  if (!condition) std::abort();
}

template <class F, class G>
void both(F f, G g) {
  std::thread a{f};
  std::thread b{g};
  a.join();
  b.join();
}

// --- Peterson (1981), sequentially consistent ---

template <bool FlagFirst>
struct peterson {
  void lock(int self) {
    const int other = 1 - self;
    if (FlagFirst) wants[self].store(true);
    turn.store(other);
    if (!FlagFirst) wants[self].store(true);
    while (wants[other].load() && turn.load() == other) std::this_thread::yield();
  }
  void unlock(int self) { wants[self].store(false); }

  std::atomic<bool> wants[2]{};
  std::atomic<int> turn{0};
};

template <class Lock>
model::report mutual_exclusion() {
  return model::explore([] {
    Lock lock;
    int n = 0;
    const auto enter = [&](int self) {
      lock.lock(self);
      ++n;
      lock.unlock(self);
    };
    both([&] { enter(0); }, [&] { enter(1); });
    must(n == 2);
  });
}

TEST(classics, peterson) {
  const auto r = mutual_exclusion<peterson<true>>();
  EXPECT_TRUE(holds(r)) << r;
  const auto broken = mutual_exclusion<peterson<false>>();
  EXPECT_TRUE(says(broken, "data-race")) << broken;
}

// --- Dekker's entry with fences: whoever sees the other stays out ---

template <std::memory_order Load, bool SetFirst>
model::report dekker() {
  return model::explore([] {
    std::atomic<bool> wants[2]{};
    int n = 0;
    const auto enter = [&](int self) {
      if (SetFirst) wants[self].store(true, relaxed);
      std::atomic_thread_fence(seq_cst);
      if (!wants[1 - self].load(Load)) {
        if (!SetFirst) wants[self].store(true, relaxed);
        ++n;
      }
      wants[self].store(false, release);
    };
    both([&] { enter(0); }, [&] { enter(1); });
    must(n <= 2);
  });
}

TEST(classics, dekker) {
  const auto r = dekker<acquire, true>();
  EXPECT_TRUE(holds(r)) << r;
  const auto late = dekker<acquire, false>();
  EXPECT_TRUE(says(late, "data-race")) << late;
  const auto unordered = dekker<relaxed, true>();
  EXPECT_TRUE(says(unordered, "data-race")) << unordered;
}

// --- ticket lock ---

template <bool Atomic, std::memory_order Unlock>
struct ticket_lock {
  void lock(int) {
    unsigned mine;
    if (Atomic) {
      mine = next.fetch_add(1, relaxed);
    } else {
      mine = next.load(relaxed);
      next.store(mine + 1, relaxed);
    }
    while (serving.load(acquire) != mine) {
    }
  }
  void unlock(int) { serving.store(serving.load(relaxed) + 1, Unlock); }

  std::atomic<unsigned> next{0};
  std::atomic<unsigned> serving{0};
};

TEST(classics, ticket_lock) {
  const auto r = mutual_exclusion<ticket_lock<true, release>>();
  EXPECT_TRUE(holds(r)) << r;
  const auto torn = mutual_exclusion<ticket_lock<false, release>>();
  EXPECT_FALSE(torn.passed()) << torn;
  const auto unordered = mutual_exclusion<ticket_lock<true, relaxed>>();
  EXPECT_TRUE(says(unordered, "data-race")) << unordered;
}

// --- seqlock (Boehm, 2012): the data are atomic ---

template <bool OddCheck>
model::report seqlock() {
  return model::explore([] {
    std::atomic<unsigned> sequence{0};
    std::atomic<int> a{0};
    std::atomic<int> b{0};
    const auto write = [&] {
      for (int i = 1; i <= 2; ++i) {
        const unsigned s = sequence.load(relaxed);
        sequence.store(s + 1, relaxed);
        std::atomic_thread_fence(release);
        a.store(i, relaxed);
        b.store(i, relaxed);
        sequence.store(s + 2, release);
      }
    };
    const auto read = [&] {
      for (;; std::this_thread::yield()) {
        const unsigned before = sequence.load(acquire);
        const int x = a.load(relaxed);
        const int y = b.load(relaxed);
        std::atomic_thread_fence(acquire);
        if (sequence.load(relaxed) != before) continue;
        if (OddCheck && (before & 1) != 0) continue;
        must(x == y);
        return;
      }
    };
    both(write, read);
  });
}

TEST(classics, seqlock) {
  const auto r = seqlock<true>();
  EXPECT_TRUE(holds(r)) << r;
  const auto broken = seqlock<false>();
  EXPECT_TRUE(says(broken, "abort()")) << broken;
}

// --- a ring of one producer and one consumer (Lamport, 1983) ---

template <std::memory_order Publish, unsigned Slots>
model::report ring() {
  return model::explore([] {
    constexpr unsigned items = 3;
    constexpr unsigned capacity = 2;
    std::array<int, capacity> slots{};
    std::atomic<unsigned> head{0};
    std::atomic<unsigned> tail{0};
    const auto produce = [&] {
      for (unsigned i = 0; i < items; ++i) {
        while (i - tail.load(acquire) == Slots) {
        }
        slots[i % capacity] = static_cast<int>(i) + 1;
        head.store(i + 1, Publish);
      }
    };
    const auto consume = [&] {
      for (unsigned i = 0; i < items; ++i) {
        while (head.load(acquire) == i) {
        }
        must(slots[i % capacity] == static_cast<int>(i) + 1);
        tail.store(i + 1, release);
      }
    };
    both(produce, consume);
  });
}

TEST(classics, ring) {
  const auto r = ring<release, 2>();
  EXPECT_TRUE(holds(r)) << r;
  const auto unordered = ring<relaxed, 2>();
  EXPECT_TRUE(says(unordered, "data-race")) << unordered;
  const auto overfull = ring<release, 3>();
  EXPECT_FALSE(overfull.passed()) << overfull;
}

// --- many producers, one consumer: llist ---

struct item : llist_node {
  int value = 0;
};

/// The twin's push orders nothing.
void push_relaxed(llist_head& list, item& n) {
  llist_node* seen = list.first.load_relaxed();
  do {
    n.next = seen;
  } while (!list.first.compare_exchange_relaxed(seen, &n));
}

template <bool Ordered>
model::report queue() {
  model::options o;
  o.cpus = 3;  // one for each task: all executions, up to equality, are run then
  return model::explore(o, [] {
    llist_head list;
    std::array<item, 2> items;
    const auto produce = [&](unsigned i) {
      items[i].value = static_cast<int>(i) + 1;
      if (Ordered) {
        (void)list.push(items[i]);
      } else {
        push_relaxed(list, items[i]);
      }
    };
    std::thread a{[&] { produce(0); }};
    std::thread b{[&] { produce(1); }};
    int sum = 0;
    unsigned taken = 0;
    while (taken != 2) {
      if (list.empty()) continue;
      for (llist_node* n = llist_reverse(list.take_all()); n != nullptr; n = n->next) {
        sum += static_cast<item*>(n)->value;
        ++taken;
      }
    }
    must(sum == 3);
    a.join();
    b.join();
  });
}

TEST(classics, queue_of_many_producers) {
  const auto r = queue<true>();
  EXPECT_TRUE(holds(r)) << r;
  const auto unordered = queue<false>();
  EXPECT_TRUE(says(unordered, "data-race")) << unordered;
}

// --- Treiber's stack (1986), nodes given back by RCU ---

struct node {
  explicit node(int v) : value{v} {}
  rcu_head head{};
  node* next = nullptr;
  int value;
};

enum class reclaim { call, wait, at_once };

template <reclaim How>
class stack {
 public:
  void push(node* n) {
    n->next = top_.load(relaxed);
    while (!top_.compare_exchange_weak(n->next, n, release, relaxed)) {
    }
  }
  /// The value, 0 if there is none.
  int pop() {
    node* n;
    {
      const guard g{rcu};
      n = top_.load(acquire);
      while (n != nullptr && !top_.compare_exchange_weak(n, n->next, acquire, acquire)) {
      }
    }
    if (n == nullptr) return 0;
    const int value = n->value;
    switch (How) {
      case reclaim::call:
        call_rcu(n->head, [](rcu_head* h) { delete reinterpret_cast<node*>(h); });
        break;
      case reclaim::wait:
        synchronize_rcu();
        delete n;
        break;
      case reclaim::at_once: delete n; break;
    }
    return value;
  }

 private:
  std::atomic<node*> top_{nullptr};
};

template <reclaim How>
model::report pops() {
  model::options o;
  o.time = std::chrono::seconds{1};
  return model::explore(o, [] {
    stack<How> s;
    s.push(new node{1});
    s.push(new node{2});
    int first = 0;
    int second = 0;
    both([&] { first = s.pop(); }, [&] { second = s.pop(); });
    must(first + second == 3);
    must(s.pop() == 0);
    rcu_barrier();
  });
}

TEST(classics, stack_with_rcu) {
  const auto called = pops<reclaim::call>();
  EXPECT_TRUE(called.passed()) << called;
  const auto waited = pops<reclaim::wait>();
  EXPECT_TRUE(waited.passed()) << waited;
  const auto broken = pops<reclaim::at_once>();
  EXPECT_TRUE(says(broken, "use after free") || says(broken, "data-race")) << broken;
}

}  // namespace
