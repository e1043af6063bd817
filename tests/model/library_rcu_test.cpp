// SPDX-License-Identifier: Apache-2.0

/// RCU on the simulated machine, which judges it by what is freed.

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
