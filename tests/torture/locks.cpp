// SPDX-License-Identifier: Apache-2.0

/// Torments of locks: more threads than cores, random holds, every way to wait and to give up.

#include <memory>

#include "interlock/mutex.hpp"
#include "torture.hpp"

namespace interlock::torture {
namespace {

constexpr int threads = 8;

/// Data that only the lock keeps whole.
struct guarded {
  std::uint64_t a = 0;
  std::uint64_t b = 0;

  void change(run& r, random& dice) noexcept {
    r.check(a == b, "nobody else is inside");
    ++a;
    for (std::uint32_t i = dice.below(64); i != 0; --i) platform::cpu_relax();
    ++b;
  }
};

/// The holds differ by orders of magnitude, so that waiters park at every stage.
void linger(random& dice) noexcept {
  if (!dice.one_in(512)) return;
  for (std::uint32_t i = dice.below(20'000); i != 0; --i) platform::cpu_relax();
}

void torment_spinlock(run& r) {
  spinlock lock;
  guarded data;
  kthread all[threads];
  for (std::uint64_t i = 0; i < threads; ++i) {
    all[i] = r.start("spinner", [&, i]() INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
      random dice = r.generator(i);
      while (r.goes_on()) {
        switch (dice.below(4)) {
          case 0: {
            const guard g{irqsave, lock};
            data.change(r, dice);
            linger(dice);
            break;
          }
          case 1: {
            const guard g{mask_bh, lock};
            data.change(r, dice);
            break;
          }
          case 2:
            if (lock.try_lock(no_mask)) {
              data.change(r, dice);
              lock.unlock(no_mask);
            }
            break;
          default: {
            const guard g{no_mask, lock};
            data.change(r, dice);
            linger(dice);
            break;
          }
        }
        r.count();
      }
    });
  }
  for (kthread& t : all) (void)t.join();
  r.check(!lock.is_locked(), "the lock is free at the end");
}
const torment spinlock_torment{"spinlock", torment_spinlock};

/// One attempt in a random way. True with the lock.
bool lock_somehow(mutex& m, random& dice) noexcept INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  switch (dice.below(6)) {
    case 0: return m.try_lock();
    case 1: return m.lock_interruptible().has_value();
    case 2: return m.lock_killable().has_value();
    case 3: return m.try_lock_until(deadline_after(ktime{dice.below(50'000)}));
    default: m.lock(); return true;
  }
}

void torment_mutex(run& r) {
  mutex m;
  guarded data;
  kthread all[threads];
  for (std::uint64_t i = 0; i < threads; ++i) {
    all[i] = r.start("locker", [&, i]() INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
      random dice = r.generator(i);
      while (r.goes_on()) {
        if (lock_somehow(m, dice)) {
          data.change(r, dice);
          linger(dice);
          if (dice.one_in(256)) schedule();
          m.unlock();
        }
        flush_signals();
        r.count();
      }
    });
  }
  random dice = r.generator(threads);
  while (r.goes_on()) {
    send_signal(all[dice.below(threads)].get(), task_signal::interrupt);
    wake_up_process(all[dice.below(threads)].get());
    sleep_for(ktime{dice.below(20'000)});
  }
  for (kthread& t : all) (void)t.join();
  r.check(!m.is_locked(), "the mutex is free at the end");
}
const torment mutex_torment{"mutex", torment_mutex};

/// An object that its last user destroys, lock and all: no earlier unlock may still be inside.
template <class Lock>
struct shared_object {
  Lock lock;
  int users = 0;
};

template <class Lock, class Enter>
void torment_lifetime(run& r, Enter enter) {
  constexpr int users = 3;
  using object = shared_object<Lock>;
  atomic<object*> published[users]{};
  atomic<bool> over{false};
  kthread all[users];
  for (std::uint64_t i = 0; i < users; ++i) {
    all[i] = r.start("user", [&, i] {
      random dice = r.generator(i);
      while (!over.load_acquire()) {
        object* const mine = published[i].exchange_acquire(nullptr);
        if (mine == nullptr) {
          schedule();
          continue;
        }
        for (std::uint32_t n = dice.below(40); n != 0; --n) platform::cpu_relax();
        if (enter(*mine)) {
          delete mine;
          r.count();
        }
      }
    });
  }
  while (r.goes_on()) {
    auto fresh = std::make_unique<object>();
    fresh->users = users;
    object* const raw = fresh.release();
    for (auto& slot : published) {
      object* expected = nullptr;
      while (!slot.compare_exchange_release(expected, raw)) {
        expected = nullptr;
        schedule();
      }
    }
  }
  for (auto& slot : published) {
    while (slot.load_relaxed() != nullptr) schedule();
  }
  over.store_release(true);
  for (kthread& t : all) (void)t.join();
}

void torment_spinlock_lifetime(run& r) {
  torment_lifetime<spinlock>(r, [](shared_object<spinlock>& o) {
    const guard g{no_mask, o.lock};
    return --o.users == 0;
  });
}
const torment spinlock_lifetime{"spinlock_lifetime", torment_spinlock_lifetime};

void torment_mutex_lifetime(run& r) {
  torment_lifetime<mutex>(r, [](shared_object<mutex>& o) {
    const guard g{o.lock};
    return --o.users == 0;
  });
}
const torment mutex_lifetime{"mutex_lifetime", torment_mutex_lifetime};

}  // namespace
}  // namespace interlock::torture
