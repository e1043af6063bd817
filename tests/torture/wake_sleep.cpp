// SPDX-License-Identifier: Apache-2.0

/// Torments of sleeping and waking: whatever the timing, every wake arrives.

#include "interlock/completion.hpp"
#include "torture.hpp"

namespace interlock::torture {
namespace {

constexpr task_state sleeps[] = {task_interruptible, task_uninterruptible, task_killable};

/// The bare protocol of task.hpp: pairs pass a ball, with random sleeps, timeouts, stray wakes and
/// signals.
void torment_ping_pong(run& r) {
  struct pair {
    atomic<std::uint32_t> ball{0};
    ref_ptr<task> player[2];
    atomic<std::uint32_t> present{0};
  };
  constexpr int pairs = 3;
  pair all[pairs];
  const auto play = [&r](pair& p, std::uint32_t side, std::uint64_t index) {
    random dice = r.generator(index);
    p.player[side] = current_task_ref();
    p.present.fetch_add_release(1);
    while (p.present.load_acquire() != 2) schedule();
    task& peer = *p.player[1 - side];
    constexpr std::uint32_t over = 0xffff'ffffu;
    while (true) {
      while (true) {
        set_current_state(sleeps[dice.below(3)]);
        const std::uint32_t ball = p.ball.load_acquire();
        if (ball == over || ball % 2 == side) break;
        if (dice.one_in(8)) {
          (void)schedule_timeout(ktime{dice.below(50'000)});
        } else {
          schedule();
        }
        flush_signals();
      }
      set_current_state_raw(task_running);
      if (p.ball.load_acquire() == over) break;
      const bool last = side == 0 && !r.goes_on();
      p.ball.store_release(last ? over : p.ball.load_relaxed() + 1);
      wake_up_process(peer);
      if (dice.one_in(16)) send_signal(peer, task_signal::interrupt);
      if (dice.one_in(16)) wake_up_process(peer);
      if (last) break;
      r.count();
    }
  };
  kthread threads[2 * pairs];
  for (std::uint32_t i = 0; i < 2 * pairs; ++i) {
    threads[i] = r.start("player", [&, i] { play(all[i / 2], i % 2, i); });
  }
  for (kthread& t : threads) (void)t.join();
}
const torment ping_pong{"ping_pong", torment_ping_pong};

/// A semaphore on a wait queue: what is given is taken, by waiters that time out, are interrupted,
/// or wait for ever. At the end the books must balance, and nobody may sleep on while there is one.
void torment_wait_queue(run& r) {
  wait_queue wq;
  atomic<std::int64_t> units{0};
  atomic<std::int64_t> given{0};
  atomic<std::int64_t> taken{0};
  atomic<bool> over{false};
  const auto take = [&] {
    std::int64_t seen = units.load_relaxed();
    while (seen > 0) {
      if (units.compare_exchange_acquire(seen, seen - 1)) return true;
    }
    return over.load_acquire();
  };
  constexpr int takers = 5;
  constexpr int givers = 2;
  kthread taker[takers];
  for (std::uint64_t i = 0; i < takers; ++i) {
    taker[i] = r.start("taker", [&, i] {
      random dice = r.generator(i);
      while (!over.load_acquire()) {
        bool got = true;
        switch (dice.below(4)) {
          case 0: wait_event_exclusive(wq, take); break;
          case 1: wait_event(wq, take); break;
          case 2:
            got = wait_event_until(wq, take, deadline_after(ktime{dice.below(100'000)}));
            break;
          default: got = wait_event_interruptible_exclusive(wq, take).has_value(); break;
        }
        flush_signals();
        if (got && !over.load_acquire()) taken.fetch_add_relaxed(1);
      }
    });
  }
  const auto give = [&](std::uint64_t index) {
    random dice = r.generator(100 + index);
    while (r.goes_on()) {
      // Only what is taken is given again: a giver waits for its units, so a lost wake hangs.
      const std::int64_t before = given.fetch_add_relaxed(1);
      units.fetch_add_release(1);
      wake_up(wq);
      if (dice.one_in(4)) send_signal(taker[dice.below(takers)].get(), task_signal::interrupt);
      while (before - taken.load_relaxed() > 2 * takers) schedule();
      r.count();
    }
  };
  kthread giver[givers];
  for (std::uint64_t i = 0; i < givers; ++i) giver[i] = r.start("giver", [&, i] { give(i); });
  for (kthread& t : giver) (void)t.join();
  while (units.load_acquire() != 0) schedule();
  over.store_release(true);
  wake_up_all(wq);
  for (kthread& t : taker) (void)t.join();
  r.check(!wait_queue_active(wq), "nobody is queued at the end");
}
const torment wait_queue_torment{"wait_queue", torment_wait_queue};

/// Completions on the stack, ended by another thread, destroyed and overwritten at once.
void torment_completion(run& r) {
  constexpr int pairs = 3;
  kthread waiters[pairs];
  kthread completers[pairs];
  struct mailbox {
    atomic<completion*> next{nullptr};
    atomic<bool> over{false};
  };
  mailbox boxes[pairs];
  for (std::uint64_t i = 0; i < pairs; ++i) {
    mailbox& box = boxes[i];
    completers[i] = r.start("completer", [&] {
      while (!box.over.load_acquire()) {
        if (completion* const c = box.next.exchange_acquire(nullptr)) {
          c->complete();
        } else {
          schedule();
        }
      }
    });
    waiters[i] = r.start("waiter", [&, i] {
      random dice = r.generator(i);
      while (r.goes_on()) {
        alignas(completion) unsigned char memory[sizeof(completion)];
        auto* const c = new (memory) completion;
        box.next.store_release(c);
        switch (dice.below(4)) {
          case 0: c->wait(); break;
          case 1:
            while (!c->wait_until(deadline_after(ktime{dice.below(30'000)}))) {
            }
            break;
          case 2:
            while (!c->try_wait()) schedule();
            break;
          default:
            while (!c->done()) schedule();
            break;
        }
        c->~completion();
        for (unsigned char& byte : memory) byte = 0xff;
        r.count();
      }
      box.over.store_release(true);
    });
  }
  for (kthread& t : waiters) (void)t.join();
  for (kthread& t : completers) (void)t.join();
}
const torment completion_torment{"completion", torment_completion};

}  // namespace
}  // namespace interlock::torture
