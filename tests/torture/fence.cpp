// SPDX-License-Identifier: Apache-2.0

/// Torments of fences: signal against add and remove of callbacks, lookups against the last put,
/// arming against the store, forks in between.

#include <sys/wait.h>
#include <unistd.h>

#include <memory>
#include <new>
#include <vector>

#include "interlock/fence_class.hpp"
#include "interlock/fence_fd.hpp"
#include "interlock/seqno_fence.hpp"
#include "support/sanitizers.hpp"
#include "torture.hpp"

namespace interlock::torture {
namespace {

/// Says whether it was deleted, also where its memory is given out again at once.
struct marked_fence : fence_class<marked_fence> {
  static constexpr std::uint32_t alive = 0x600d'600d, dead = 0xdead'dead;

  explicit marked_fence(std::uint64_t number) : fence_class{1, number, dma_fence_flag::seqno64} {}
  ~marked_fence() { mark.store_relaxed(dead); }
  const char* driver_name_of() const noexcept { return "torture"; }
  const char* timeline_name_of() const noexcept { return "slots"; }

  [[nodiscard]] bool is_alive() const noexcept { return mark.load_relaxed() == alive; }

  atomic<std::uint32_t> mark{alive};
};

/// Fences that everybody looks up, and that are signalled and replaced meanwhile.
class slots {
 public:
  static constexpr std::uint32_t count = 3;

  slots() {
    for (auto& slot : slots_) rcu_init_pointer(slot, make().release());
  }
  ~slots() {
    for (auto& slot : slots_) {
      const auto last = ref_ptr<dma_fence>::adopt(rcu_exchange_pointer(slot, nullptr));
      last->signal();
    }
    rcu_barrier();
  }
  slots(const slots&) = delete;
  slots& operator=(const slots&) = delete;

  [[nodiscard]] ref_ptr<dma_fence> find(random& dice) const {
    return dma_fence_get_rcu_safe(slots_[dice.below(count)]);
  }

  /// Signals what a slot holds, before or after it is replaced, perhaps with an error.
  void replace(random& dice) {
    rcu_pointer<dma_fence>& slot = slots_[dice.below(count)];
    const auto old = ref_ptr<dma_fence>::adopt(rcu_exchange_pointer(slot, make().release()));
    if (dice.one_in(4)) old->set_error(error::io_error);
    if (dice.one_in(4)) {
      old->signal_timestamp(monotonic_clock::now());
    } else {
      old->signal();
    }
  }

 private:
  static ref_ptr<dma_fence> make() {
    static atomic<std::uint64_t> next{1};
    return make_fence<marked_fence>(next.fetch_add_relaxed(1)).value();
  }

  rcu_pointer<dma_fence> slots_[count];
};

struct counted_callback {
  dma_fence_cb cb;
  atomic<std::uint32_t> runs{0};

  static void run(dma_fence*, dma_fence_cb* cb) noexcept {
    INTERLOCK_CONTAINER_OF(cb, counted_callback, cb)->runs.fetch_add_release(1);
  }
};

/// Adds a callback and takes it off again: it ran, or it was removed, never both nor neither.
void add_and_remove(run& r, dma_fence& fence, random& dice) {
  counted_callback mine;
  const bool added = fence.add_callback(mine.cb, counted_callback::run).has_value();
  if (!added) r.check(fence.test_signaled_flag(), "only a signalled fence refuses");
  for (std::uint32_t i = dice.below(200); i != 0; --i) platform::cpu_relax();
  const bool removed = fence.remove_callback(mine.cb);
  const std::uint32_t expected = added && !removed ? 1 : 0;
  r.check(mine.runs.load_acquire() == expected, "a callback runs once, or is removed");
}

void use(run& r, slots& all, random& dice) {
  const auto fence = all.find(dice);
  r.check(fence != nullptr && static_cast<marked_fence&>(*fence).is_alive(), "a found fence lives");
  switch (dice.below(6)) {
    case 0: add_and_remove(r, *fence, dice); break;
    case 1:
      if (fence->wait_until(deadline_after(std::chrono::microseconds{dice.below(300)}))) {
        r.check(fence->status() != 0, "a wait that succeeded saw the signal");
      }
      break;
    case 2: {
      const auto other = all.find(dice);
      dma_fence* const both[] = {fence.get(), other.get()};
      const deadline until = deadline_after(std::chrono::microseconds{dice.below(300)});
      if (const auto index = dma_fence_wait_any(both, until)) {
        r.check(both[*index]->test_signaled_flag(), "the one that ended the wait is signalled");
      }
      break;
    }
    case 3:
      if (dice.one_in(16)) (void)fence_fd::open(*fence);
      break;
    case 4:
      if (fence->is_signaled()) {
        const deadline at = fence->timestamp();  // before the clock is read
        r.check(at <= monotonic_clock::now(), "it was signalled in the past");
      }
      break;
    default: {
      char text[128];
      r.check(fence->describe(text, sizeof text) > 0, "it can be described");
    }
  }
  r.check(static_cast<marked_fence&>(*fence).is_alive(), "it lives as long as the reference");
}

void torment_signal(run& r) {
  slots all;
  std::vector<kthread> threads;
  for (std::uint64_t i = 0; i < 2; ++i) {
    threads.push_back(r.start("signaller", [&r, &all, i] {
      random dice = r.generator(i);
      while (r.goes_on()) {
        all.replace(dice);
        for (std::uint32_t n = dice.below(500); n != 0; --n) platform::cpu_relax();
      }
    }));
  }
  for (std::uint64_t i = 2; i < 5; ++i) {
    threads.push_back(r.start("user", [&r, &all, i] {
      random dice = r.generator(i);
      for (; r.goes_on(); r.count()) use(r, all, dice);
    }));
  }
  for (kthread& t : threads) t.join();
}
const torment signal_torment{"fence_signal", torment_signal};

// --- timelines -----------------------------------------------------------------------------------

const char* torture_name(seqno_timeline*) noexcept { return "torture"; }
bool arm(seqno_timeline*) noexcept { return true; }

constexpr seqno_timeline_ops ops_armed{torture_name, torture_name, arm,    nullptr,
                                       nullptr,      nullptr,      nullptr};
constexpr seqno_timeline_ops ops_polled{torture_name, torture_name, nullptr, nullptr,
                                        nullptr,      nullptr,      nullptr};

struct device {
  explicit device(const seqno_timeline_ops& ops)
      : timeline{make_seqno_timeline(ops, nullptr, make_seqno_buffer(1).value(), 0).value()} {}

  /// Stores the next seqno; interrupts only if somebody has armed.
  void work(random& dice) {
    seqno_timeline_advance(*timeline, ++done);
    if (seqno_timeline_armed(*timeline)) seqno_timeline_process(*timeline);
    for (std::uint32_t n = dice.below(300); n != 0; --n) platform::cpu_relax();
  }

  ref_ptr<seqno_timeline> timeline;
  std::uint64_t done = 0;
};

/// Waits for a point shortly ahead, in one of the ways there are.
void await_point(run& r, seqno_timeline& timeline, random& dice) {
  const std::uint64_t seqno = seqno_timeline_value(timeline) + dice.below(20);
  const auto fence = make_seqno_fence(timeline, seqno).value();
  switch (dice.below(5)) {
    case 0: fence->wait(); break;
    case 1:
      r.check(seqno_wait_until(timeline, seqno, no_deadline) == seqno_wait_end::passed, "passed");
      break;
    case 2: add_and_remove(r, *fence, dice); return;
    case 3:
      while (!fence->is_signaled()) schedule();
      break;
    default:
      if (!fence->wait_until(deadline_after(std::chrono::microseconds{dice.below(200)}))) return;
  }
  r.check(seqno_timeline_passed(timeline, seqno), "what was waited for is there");
  r.check(fence->status() == 1, "and its fence says so");
}

void torment_device(run& r, const seqno_timeline_ops& ops) {
  device d{ops};
  std::vector<kthread> users;
  atomic<std::uint32_t> waiting{3};
  for (std::uint64_t i = 0; i < 3; ++i) {
    users.push_back(r.start("user", [&, i] {
      random dice = r.generator(i);
      for (; r.goes_on(); r.count()) await_point(r, *d.timeline, dice);
      waiting.fetch_sub_release(1);
    }));
  }
  random dice = r.generator(9);
  while (waiting.load_acquire() != 0) d.work(dice);
  for (kthread& t : users) t.join();
  seqno_timeline_fail(*d.timeline, error::no_such_device);  // what was armed and left
}

const torment seqno_torment{"fence_seqno", [](run& r) { torment_device(r, ops_armed); }};
const torment polled_torment{"fence_seqno_polled", [](run& r) { torment_device(r, ops_polled); }};

// --- forks ---------------------------------------------------------------------------------------

int child_uses_fences() {
  slots all;
  random dice{1};
  for (int i = 0; i < 20; ++i) all.replace(dice);
  const auto fence = make_fence<marked_fence>(1u).value();
  counted_callback cb;
  if (!fence->add_callback(cb.cb, counted_callback::run)) return 1;
  fence->signal();
  fence->wait();
  return cb.runs.load_acquire() == 1 ? 0 : 2;
}

void torment_fork(run& r) {
  if (test::thread_sanitizer) return r.count();  // it starts no threads in the child of a fork
  slots all;
  std::vector<kthread> threads;
  for (std::uint64_t i = 0; i < 2; ++i) {
    threads.push_back(r.start("user", [&r, &all, i] {
      random dice = r.generator(i);
      while (r.goes_on()) {
        all.replace(dice);
        use(r, all, dice);
      }
    }));
  }
  for (; r.goes_on(); r.count()) {
    const pid_t child = fork();
    if (child == 0) _exit(child_uses_fences());
    r.check(child > 0, "fork");
    int status = 0;
    waitpid(child, &status, 0);
    r.check(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a child uses fences");
  }
  for (kthread& t : threads) t.join();
}
const torment fork_torment{"fence_fork", torment_fork};

}  // namespace
}  // namespace interlock::torture
