// SPDX-License-Identifier: Apache-2.0

/// Torments of RCU: objects that are freed in every way while others read them, callbacks from all
/// sides, threads whose whole life is one section.

#include <cstdlib>
#include <new>
#include <thread>
#include <vector>

#include "interlock/rcupdate.hpp"
#include "torture.hpp"

namespace interlock::torture {
namespace {

/// Its memory says whether it was freed, also where the allocator gives it out again at once.
struct object {
  static constexpr std::uint32_t alive = 0x600d'600d, dead = 0xdead'dead;

  object() = default;
  object(const object&) = delete;
  object& operator=(const object&) = delete;
  ~object() {
    for (atomic<std::uint32_t>& word : words) word.store_relaxed(dead);
  }
  [[nodiscard]] bool is_alive() const noexcept {
    for (const atomic<std::uint32_t>& word : words) {
      if (word.load_relaxed() != alive) return false;
    }
    return true;
  }

  atomic<std::uint32_t> words[4] = {atomic{alive}, atomic{alive}, atomic{alive}, atomic{alive}};
  rcu_head rcu;
};

/// Several pointers, so that a section follows some that change during it.
struct shared_objects {
  static constexpr std::uint32_t count = 4;

  shared_objects() {
    for (rcu_pointer<object>& p : pointers) rcu_init_pointer(p, new object);
  }
  ~shared_objects() {
    rcu_barrier();
    for (rcu_pointer<object>& p : pointers) delete rcu_access_pointer(p);
  }
  shared_objects(const shared_objects&) = delete;
  shared_objects& operator=(const shared_objects&) = delete;

  rcu_pointer<object> pointers[count];
};

/// One section: follows pointers, keeps what it saw, dawdles, nests, and looks again at the end.
void read(run& r, const shared_objects& shared, random& dice) {
  const guard outer{rcu};
  const object* seen[shared_objects::count];
  for (std::uint32_t i = 0; i < shared_objects::count; ++i) {
    seen[i] = rcu_dereference(shared.pointers[i]);
    r.check(seen[i]->is_alive(), "a reader sees an object that lives");
    if (dice.one_in(8)) const guard inner{rcu};
  }
  if (dice.one_in(64)) {
    for (std::uint32_t i = dice.below(2000); i != 0; --i) platform::cpu_relax();
  }
  if (dice.one_in(512)) std::this_thread::yield();
  for (const object* o : seen) r.check(o->is_alive(), "and it lives as long as the section");
}

/// Replaces an object and has the old one freed in one of the ways there are.
void update(shared_objects& shared, random& dice) {
  rcu_pointer<object>& p = shared.pointers[dice.below(shared_objects::count)];
  object* const old = rcu_exchange_pointer(p, new object);
  switch (dice.below(6)) {
    case 0: synchronize_rcu(); break;
    case 1: synchronize_rcu_expedited(); break;
    case 2: cond_synchronize_rcu(get_state_synchronize_rcu()); break;
    case 3: {
      const rcu_cookie cookie = start_poll_synchronize_rcu();
      while (!poll_state_synchronize_rcu(cookie)) std::this_thread::yield();
      break;
    }
    case 4: delete_rcu<&object::rcu>(old); return;
    default: {
      // From inside a section, as interrupt handlers do it.
      const guard g{rcu};
      delete_rcu<&object::rcu>(old);
      return;
    }
  }
  delete old;
}

void torment_rcu(run& r) {
  shared_objects shared;
  std::vector<kthread> threads;
  for (std::uint64_t i = 0; i < 3; ++i) {
    threads.push_back(r.start("rcu reader", [&r, &shared, i] {
      random dice = r.generator(i);
      while (r.goes_on()) read(r, shared, dice);
    }));
    threads.push_back(r.start("rcu updater", [&r, &shared, i] {
      random dice = r.generator(100 + i);
      while (r.goes_on()) {
        update(shared, dice);
        r.count();
      }
    }));
  }
  for (kthread& t : threads) t.join();
}
const torment rcu_torment{"rcu", torment_rcu};

/// Threads that enlist, read once, queue a callback and end, all the time.
void torment_rcu_threads(run& r) {
  shared_objects shared;
  kthread updater = r.start("rcu updater", [&] {
    random dice = r.generator(1);
    while (r.goes_on()) update(shared, dice);
  });
  std::uint64_t number = 2;
  while (r.goes_on()) {
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&r, &shared, n = number++] {
        random dice = r.generator(n);
        read(r, shared, dice);
        if (dice.one_in(2)) delete_rcu<&object::rcu>(new object);
        if (dice.one_in(4)) synchronize_rcu();
      });
    }
    for (std::thread& t : threads) t.join();
    r.count(4);
  }
  updater.join();
}
const torment rcu_threads{"rcu_threads", torment_rcu_threads};

/// Barriers against those who queue: what was queued before has run after.
void torment_rcu_callbacks(run& r) {
  struct counted {
    rcu_head rcu;
    atomic<std::uint64_t>* invoked;
  };
  const auto queue_and_wait = [&r](std::uint64_t index) {
    random dice = r.generator(index);
    atomic<std::uint64_t> invoked{0};
    std::uint64_t queued = 0;
    while (r.goes_on()) {
      for (std::uint32_t i = 1 + dice.below(300); i != 0; --i) {
        auto* const c = new counted{{}, &invoked};
        ++queued;
        call_rcu(c->rcu, [](rcu_head* head) {
          auto* const self = reinterpret_cast<counted*>(head);
          self->invoked->fetch_add_relaxed(1);
          delete self;
        });
      }
      if (dice.one_in(4)) {
        rcu_barrier();
        r.check(invoked.load_relaxed() == queued, "a barrier waits for all that was queued");
      }
      r.count();
    }
    rcu_barrier();
    r.check(invoked.load_relaxed() == queued, "the last barrier waits for all");
  };
  std::vector<kthread> threads;
  for (std::uint64_t i = 0; i < 4; ++i) {
    threads.push_back(r.start("rcu queuer", [&queue_and_wait, i] { queue_and_wait(i); }));
  }
  for (kthread& t : threads) t.join();
}
const torment rcu_callbacks{"rcu_callbacks", torment_rcu_callbacks};

/// Blocks that their tasks free themselves, while barriers take them away and threads come and go. A
/// block begins with words that free() overwrites.
void torment_rcu_free(run& r) {
  struct block {
    atomic<std::uint64_t> words[2];
    rcu_head rcu;
  };
  constexpr std::uint64_t alive = 0x600d'600d'600d'600d;
  const auto make = [] {
    auto* const b = static_cast<block*>(std::malloc(sizeof(block)));
    for (atomic<std::uint64_t>& word : b->words) word.store_relaxed(alive);
    return b;
  };
  rcu_pointer<block> shared{make()};
  const auto replace = [&](std::uint32_t times) {
    for (; times != 0; --times) {
      block* const old = rcu_exchange_pointer(shared, make());
      free_rcu(old->rcu, old);
    }
  };
  std::vector<kthread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.push_back(r.start("rcu reader", [&] {
      while (r.goes_on()) {
        const guard g{rcu};
        const block* const seen = rcu_dereference(shared);
        for (int look = 0; look < 8; ++look) {
          for (const atomic<std::uint64_t>& word : seen->words) {
            r.check(word.load_relaxed() == alive, "a reader sees a block that lives");
          }
        }
      }
    }));
    threads.push_back(r.start("rcu giver", [&, i] {
      random dice = r.generator(static_cast<std::uint64_t>(i));
      while (r.goes_on()) {
        replace(dice.below(4000));
        if (dice.one_in(16)) rcu_barrier();
        if (dice.one_in(8)) std::this_thread::yield();
        r.count();
      }
    }));
  }
  while (r.goes_on()) {
    std::thread{[&] { replace(300); }}.join();
    rcu_barrier();
  }
  for (kthread& t : threads) t.join();
  rcu_barrier();
  std::free(rcu_access_pointer(shared));
}
const torment rcu_free{"rcu_free", torment_rcu_free};

}  // namespace
}  // namespace interlock::torture
