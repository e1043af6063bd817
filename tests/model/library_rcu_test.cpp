// SPDX-License-Identifier: Apache-2.0

/// RCU on the simulated machine, which judges it by what is freed.

#include "interlock_platform/park.hpp"
#include "model/library_support.hpp"

namespace interlock::test {
namespace {

struct node {
  explicit node(int value) noexcept : v{value} {}
  int v;
  rcu_head rcu{};
};

void read(const rcu_pointer<node>& p) {
  guard g{interlock::rcu};
  const node* const n = rcu_dereference(p);
  if (n->v != 1 && n->v != 2) std::abort();
}

/// Frees what is there in the end.
struct last_node {
  explicit last_node(rcu_pointer<node>& where) noexcept : p{where} {}
  ~last_node() { delete rcu_exchange_pointer(p, static_cast<node*>(nullptr)); }
  last_node(const last_node&) = delete;
  last_node& operator=(const last_node&) = delete;
  rcu_pointer<node>& p;
};

template <class F>
void read_while(F&& update) {
  rcu_pointer<node> p{new node{1}};
  const last_node end_p{p};
  auto reader = start("reader", [&] { read(p); });
  update(p);
  (void)reader.join();
  read(p);
}

TEST(library_rcu, memory_lives_until_synchronize_rcu) {
  passes(model::explore(some(8000), [] {
    read_while([](rcu_pointer<node>& p) {
      node* const old = rcu_exchange_pointer(p, new node{2});
      synchronize_rcu();
      delete old;
    });
  }));
}

/// The reader's word may be in its store buffer when the updater looks.
TEST(library_rcu, readers_need_no_barrier_of_their_own) {
  passes(model::explore(tso(some(20'000)), [] {
    rcu_pointer<node> p{new node{1}};
    const last_node end_p{p};
    auto reader = start("reader", [&] {
      read(p);  // enlists, by read-modify-writes
      read(p);
    });
    node* const old = rcu_exchange_pointer(p, new node{2});
    synchronize_rcu();
    delete old;
    (void)reader.join();
  }));
}

TEST(library_rcu, memory_lives_until_synchronize_rcu_on_one_cpu) {
  passes(model::explore(some(8000, 1), [] {
    read_while([](rcu_pointer<node>& p) {
      node* const old = rcu_exchange_pointer(p, new node{2});
      synchronize_rcu();
      delete old;
    });
  }));
}

TEST(library_rcu, memory_lives_until_synchronize_rcu_expedited) {
  passes(model::explore(some(8000), [] {
    read_while([](rcu_pointer<node>& p) {
      node* const old = rcu_exchange_pointer(p, new node{2});
      synchronize_rcu_expedited();
      delete old;
    });
  }));
}

TEST(library_rcu, memory_without_a_grace_period_is_used_after_it_is_freed) {
  fails(model::explore(some(8000),
                       [] {
                         read_while([](rcu_pointer<node>& p) {
                           node* const old = rcu_exchange_pointer(p, new node{2});
                           delete old;
                         });
                       }),
        "BUG: ");
}

TEST(library_rcu, a_publication_before_the_object_is_a_race) {
  fails(model::explore(some(8000),
                       [] {
                         read_while([](rcu_pointer<node>& p) {
                           auto* const fresh = new node{1};
                           node* const old = rcu_exchange_pointer(p, fresh);
                           fresh->v = 2;
                           synchronize_rcu();
                           delete old;
                         });
                       }),
        "BUG: data-race");
}

TEST(library_rcu, a_callback_frees_after_the_readers) {
  passes(model::explore(some(8000), [] {
    read_while([](rcu_pointer<node>& p) {
      delete_rcu<&node::rcu>(rcu_exchange_pointer(p, new node{2}));
      rcu_barrier();
    });
  }));
}

/// Both phases of a reader that enlists, in two sections, and two updates.
TEST(library_rcu, two_sections_and_two_grace_periods) {
  passes(model::explore(some(8000), [] {
    rcu_pointer<node> p{new node{1}};
    const last_node end_p{p};
    auto reader = start("reader", [&] {
      read(p);
      read(p);
    });
    for (int i = 0; i < 2; ++i) {
      node* const old = rcu_exchange_pointer(p, new node{2});
      synchronize_rcu();
      delete old;
    }
    (void)reader.join();
  }));
}

TEST(library_rcu, two_readers_and_an_updater) {
  passes(model::explore(some(8000, 3), [] {
    rcu_pointer<node> p{new node{1}};
    const last_node end_p{p};
    auto a = start("a", [&] { read(p); });
    auto b = start("b", [&] {
      guard g{interlock::rcu};
      read(p);  // nested
      read(p);
    });
    node* const old = rcu_exchange_pointer(p, new node{2});
    synchronize_rcu();
    delete old;
    (void)a.join();
    (void)b.join();
  }));
}

TEST(library_rcu, two_updaters_share_grace_periods) {
  passes(model::explore(some(8000, 3), [] {
    rcu_pointer<node> p{new node{1}};
    const last_node end_p{p};
    rcu_pointer<node> q{new node{1}};
    const last_node end_q{q};
    auto reader = start("reader", [&] {
      read(p);
      read(q);
    });
    auto other = start("other", [&] {
      node* const old = rcu_exchange_pointer(q, new node{2});
      synchronize_rcu();
      delete old;
    });
    node* const old = rcu_exchange_pointer(p, new node{2});
    synchronize_rcu();
    delete old;
    (void)reader.join();
    (void)other.join();
  }));
}

/// The task that it halts is none: the machine does not order what a handler reads before what its
/// task releases afterwards, so that a section that the handler nests in seems to end too soon.
TEST(library_rcu, a_handler_is_a_reader) {
  const auto program = [] {
    rcu_pointer<node> p{new node{1}};
    const last_node end_p{p};
    completion done;
    const auto line = *make_irq_line({.name = "reader", .kind = irq_kind::asynchronous});
    const auto action = request_irq(*line, [&] {
                          read(p);
                          done.complete();
                          return irqreturn::handled;
                        }).value();
    auto updater = start("updater", [&] {
      raise_irq(*line);
      node* const old = rcu_exchange_pointer(p, new node{2});
      synchronize_rcu();
      delete old;
    });
    done.wait();
    (void)updater.join();
  };
  passes(model::explore(some(8000), program));
  passes(model::explore(full(some(8000)), program));
}

/// Its task has begun its first section, but is not on the list of readers yet.
TEST(library_rcu, a_handler_is_a_reader_before_its_task_is_known) {
  const auto program = [] {
    rcu_pointer<node> p{new node{1}};
    const last_node end_p{p};
    rcu_pointer<node> q{new node{1}};
    const last_node end_q{q};
    std::atomic<bool> begun{false};
    std::atomic<int> step{0};
    ref_ptr<irq_line> line;
    irq_action action;
    auto owner = start("owner", [&] {  // on the other CPU, to which the line belongs
      line = *make_irq_line({.name = "reader", .kind = irq_kind::asynchronous});
      action = request_irq(*line, [&] {
                 guard g{interlock::rcu};
                 const node* const n = rcu_dereference(q);
                 for (int i = 0; i < 8; ++i) step.store(i);  // a section of some length
                 if (n->v != 1 && n->v != 2) std::abort();
                 return irqreturn::handled;
               }).value();
    });
    (void)owner.join();
    auto updater = start("updater", [&] {
      while (!begun) {
      }
      raise_irq(*line);
      node* const old = rcu_exchange_pointer(q, new node{2});
      synchronize_rcu();
      delete old;
    });
    auto reader = start("reader", [&] {  // on the CPU of the line
      begun = true;
      read(p);
    });
    (void)updater.join();
    (void)reader.join();
  };
  passes(model::explore(full(some(20'000)), program));
}

/// `counted`: what was counted before the barrier looks is not waited for.
TEST(library_rcu, rcu_barrier_sees_what_the_callbacks_did) {
  const model::expectations here;
  struct writer {
    rcu_head head{};
    int value = 0;
    std::atomic<int> ran{0};
  };
  const auto program = [](bool counted) {
    return [counted] {
      writer w;
      call_rcu(w.head, [](rcu_head* head) {
        auto* const self = INTERLOCK_CONTAINER_OF(head, writer, head);
        self->value = 1;
        self->ran.store(1, std::memory_order_relaxed);
      });
      if (counted) {
        while (w.ran.load(std::memory_order_relaxed) == 0) {
        }
      }
      rcu_barrier();
      EXPECT_EQ(w.value, 1);
    };
  };
  passes(model::explore(some(8000), program(false)));
  passes(model::explore(some(8000), program(true)));
}

TEST(library_rcu, rcu_barrier_waits_for_its_callbacks) {
  const model::expectations here;
  passes(model::explore(some(8000), [] {
    struct counted {
      rcu_head head;
      std::atomic<int>* calls;
    };
    std::atomic<int> calls{0};
    const auto queue = [&] {
      auto* const c = new counted{{}, &calls};
      call_rcu(c->head, [](rcu_head* head) {
        auto* const self = INTERLOCK_CONTAINER_OF(head, counted, head);
        self->calls->fetch_add(1);
        delete self;
      });
    };
    auto other = start("other", queue);
    queue();
    rcu_barrier();
    EXPECT_GE(calls.load(), 1);
    (void)other.join();
    rcu_barrier();
    EXPECT_EQ(calls.load(), 2);
  }));
}

// --- blocks of free_rcu, which their task keeps and frees itself ---

struct block {
  int v;
  rcu_head rcu;
};

block* make_block(int v) {
  auto* const b = static_cast<block*>(std::malloc(sizeof(block)));
  b->v = v;
  return b;
}

void give(block* b) { free_rcu(b->rcu, b); }

/// Explorations with rings of a few blocks: each path through them is short then.
class library_rcu_rings : public testing::Test {
 protected:
  static constexpr int size = 4;
  void SetUp() override { setenv("INTERLOCK_OPTIONS", "rcu_free_batch=4", 1); }
  void TearDown() override { unsetenv("INTERLOCK_OPTIONS"); }

  /// After so many the caller has a ring.
  static void get_ring() {
    for (int i = 0; i < size; ++i) give(make_block(0));
  }
  /// Replaces what readers see, `times` often.
  static void replace(rcu_pointer<block>& p, int times) {
    for (int i = 0; i < times; ++i) give(rcu_exchange_pointer(p, make_block(1)));
  }
  static void look(const rcu_pointer<block>& p) {
    guard g{interlock::rcu};
    const block* const b = rcu_dereference(p);
    if (b->v != 1) std::abort();
  }
};

TEST_F(library_rcu_rings, blocks_live_as_long_as_their_readers) {
  const auto program = [] {
    rcu_pointer<block> p{make_block(1)};
    get_ring();
    auto reader = start("reader", [&] {
      look(p);
      look(p);
    });
    replace(p, 2 * size);
    (void)reader.join();
    rcu_barrier();
    std::free(rcu_access_pointer(p));
  };
  passes(model::explore(some(8000), program));
  passes(model::explore(tso(some(8000)), program));
}

/// Who waits takes them out of the ring, while their owner goes on.
TEST_F(library_rcu_rings, a_barrier_waits_for_those_of_others) {
  const model::expectations here;
  const auto program = [] {
    std::atomic<int> given{0};
    auto owner = start("owner", [&] {
      get_ring();
      for (int i = 0; i < size; ++i) {
        give(make_block(0));
        given.fetch_add(1, std::memory_order_release);
      }
    });
    const int before = given.load(std::memory_order_acquire);
    rcu_barrier();
    const rcu_statistics s = rcu_get_statistics();
    EXPECT_GE(s.callbacks_invoked, static_cast<std::uint64_t>(before));
    (void)owner.join();
    rcu_barrier();
    const rcu_statistics end = rcu_get_statistics();
    EXPECT_EQ(end.callbacks_invoked, 2u * size);
    EXPECT_EQ(end.callbacks_queued, 2u * size);
  };
  passes(model::explore(some(8000), program));
  passes(model::explore(tso(some(8000)), program));
}

/// The worker takes them from an owner that stays away, also if it comes back just then.
TEST_F(library_rcu_rings, an_owner_that_stays_away_keeps_nothing) {
  const model::expectations here;
  struct told {
    rcu_head head{};
    completion done;
  };
  const auto let_worker_pass = [](int times) {
    for (int i = 0; i < times; ++i) {
      told t;
      call_rcu(t.head,
               [](rcu_head* head) { INTERLOCK_CONTAINER_OF(head, told, head)->done.complete(); });
      t.done.wait();
    }
  };
  const auto program = [&] {
    rcu_pointer<block> p{make_block(1)};
    get_ring();
    auto reader = start("reader", [&] { look(p); });
    replace(p, 1);
    let_worker_pass(2);  // at the second it finds that nothing came
    replace(p, 2);
    (void)reader.join();
    let_worker_pass(4);
    const rcu_statistics s = rcu_get_statistics();
    EXPECT_EQ(s.callbacks_queued, size + 3 + 6);
    EXPECT_GE(s.callbacks_invoked, size + 3 + 5);  // the last one may not be counted yet
    rcu_barrier();
    std::free(rcu_access_pointer(p));
  };
  passes(model::explore(some(8000), program));
  passes(model::explore(tso(some(8000)), program));
}

/// Nobody tells the worker of a block in a ring but its owner, who looks whether it sleeps.
TEST_F(library_rcu_rings, one_block_wakes_the_worker) {
  const auto program = [] {
    get_ring();
    give(make_block(0));
    const atomic<std::uint32_t> never{0};
    while (rcu_get_statistics().callbacks_invoked != size + 1) {
      platform::park(never, 0, platform::now() + std::chrono::milliseconds{20},
                     platform::park_scope::process, platform::deadline_kind::watchdog);
    }
  };
  passes(model::explore(some(8000), program));
  passes(model::explore(tso(some(8000)), program));
}

TEST_F(library_rcu_rings, an_owner_that_ends_leaves_them_to_others) {
  const auto program = [] {
    rcu_pointer<block> p{make_block(1)};
    auto owner = start("owner", [&] {
      get_ring();
      replace(p, size);
    });
    look(p);
    look(p);
    (void)owner.join();
    rcu_barrier();
    std::free(rcu_access_pointer(p));
  };
  passes(model::explore(some(8000), program));
}

TEST_F(library_rcu_rings, a_handler_gives_where_its_task_does) {
  const auto program = [] {
    rcu_pointer<block> p{make_block(1)};
    completion done;
    const auto line = *make_irq_line({.name = "giver", .kind = irq_kind::asynchronous});
    const auto action = request_irq(*line, [&] {
                          replace(p, 1);
                          done.complete();
                          return irqreturn::handled;
                        }).value();
    auto other = start("other", [&] {
      look(p);
      raise_irq(*line);
      look(p);
    });
    get_ring();
    replace(p, size);
    done.wait();
    (void)other.join();
    rcu_barrier();
    std::free(rcu_access_pointer(p));
  };
  passes(model::explore(some(4000), program));
  passes(model::explore(full(some(4000)), program));
}

TEST(library_rcu, a_cookie_tells_of_a_grace_period) {
  passes(model::explore(some(8000), [] {
    read_while([](rcu_pointer<node>& p) {
      node* const old = rcu_exchange_pointer(p, new node{2});
      const rcu_cookie cookie = start_poll_synchronize_rcu();
      if (!poll_state_synchronize_rcu(cookie)) cond_synchronize_rcu(cookie);
      delete old;
    });
  }));
}

TEST(library_rcu, a_grace_period_inside_a_reader_is_reported) {
  fails(model::explore(some(8000),
                       [] {
                         guard g{interlock::rcu};
                         synchronize_rcu();
                       }),
        "synchronize_rcu");
}

}  // namespace
}  // namespace interlock::test
