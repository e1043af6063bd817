// SPDX-License-Identifier: Apache-2.0

/// RCU in processes of their own: under other options, and from its very first use.

#include <unistd.h>

#include <filesystem>
#include <string>

#include "interlock/bottom_half.hpp"
#include "interlock/dma_fence.hpp"
#include "interlock/spinlock.hpp"
#include "rcu_test_support.hpp"
#include "support/libdw.hpp"

namespace interlock::test {
namespace {

/// Runs `body` in this program started anew, and expects success, and `message` on its stderr.
#define EXPECT_IN_CHILD(body, message) \
  EXPECT_EXIT(run_and_exit(body), testing::ExitedWithCode(0), message)

template <class Body>
void run_and_exit(Body body) {
  body();
  _exit(testing::Test::HasFailure() ? 1 : 0);
}

std::uint64_t outstanding() {
  const rcu_statistics s = rcu_get_statistics();
  return s.callbacks_queued - s.callbacks_invoked;
}

void free_head(rcu_head* head) { delete head; }

// --- without membarrier ---

void use_rcu_for_a_while() {
  rcu_pointer<checked_object> shared{new checked_object};
  atomic<bool> stop{false};
  flag running;
  kthread reader = start([&] {
    while (!stop.load_relaxed()) {
      const guard outer{rcu};
      const guard inner{rcu};
      if (rcu_dereference(shared)->state != checked_object::alive) abort();
      running.raise();
    }
  });
  running.await();
  for (int i = 0; i < 1000; ++i) {
    checked_object* const old = rcu_exchange_pointer(shared, new checked_object);
    if (i % 2 == 0) {
      synchronize_rcu();
      delete old;
    } else {
      delete_rcu<&checked_object::rcu>(old);
    }
  }
  stop.store_relaxed(true);
  reader.join();
  rcu_barrier();
  EXPECT_EQ(outstanding(), 0u);
  delete rcu_access_pointer(shared);
}

TEST(rcu_options, works_without_membarrier) {
  const options_for_children options{"membarrier=0"};
  EXPECT_IN_CHILD(([] {
                    use_rcu_for_a_while();
                    EXPECT_FALSE(platform::heavy_barrier_is_asymmetric());
                  }),
                  "");
}

TEST(rcu_options, a_reader_holds_up_a_grace_period_without_membarrier) {
  const options_for_children options{"membarrier=0"};
  EXPECT_IN_CHILD(([] {
                    held_reader reader;
                    const rcu_cookie cookie = start_poll_synchronize_rcu();
                    for (int i = 0; i < 1000; ++i) {
                      platform::yield();
                      EXPECT_FALSE(poll_state_synchronize_rcu(cookie));
                    }
                    reader.leave();
                    cond_synchronize_rcu(cookie);
                  }),
                  "");
}

// --- a flood ---

constexpr std::uint64_t backlog_max = 1000;
constexpr std::uint64_t pushers = 2;
/// The limit, and what passes between two looks at it: 64 a shard and task.
constexpr std::uint64_t bound = backlog_max + 64 * (pushers + 1);

void flood_against_a_reader() {
  held_reader reader;
  constexpr std::uint64_t each = 5000;
  const auto push = [] {
    for (std::uint64_t i = 0; i < each; ++i) {
      call_rcu(*new rcu_head, free_head);
      EXPECT_LE(outstanding(), bound);
    }
  };
  kthread first = start(push), second = start(push);
  // Both wait now: the reader keeps every callback from running.
  wait_until([] { return rcu_get_statistics().callers_pushed_back == pushers; });
  EXPECT_GT(outstanding(), backlog_max);
  EXPECT_LE(outstanding(), bound);

  // Who may not wait is let through: a reader, an atomic section, an interrupt.
  EXPECT_EQ(rcu_get_statistics().callers_let_through, 0u);
  rcu_read_lock();
  call_rcu(*new rcu_head, free_head);
  rcu_read_unlock();
  preempt_disable();
  call_rcu(*new rcu_head, free_head);
  preempt_enable();
  {
    const guard g{irqsave};
    call_rcu(*new rcu_head, free_head);
  }
  EXPECT_EQ(rcu_get_statistics().callers_let_through, 3u);
  EXPECT_EQ(rcu_get_statistics().callers_pushed_back, pushers);

  reader.leave();
  first.join();
  second.join();
  rcu_barrier();
  EXPECT_EQ(outstanding(), 0u);
  EXPECT_EQ(rcu_get_statistics().callbacks_invoked, pushers * each + 3);
}

TEST(rcu_flood, is_bounded_and_pushes_back_only_who_may_wait) {
  const options_for_children options{"rcu_backlog_max=1000"};
  EXPECT_IN_CHILD(flood_against_a_reader, "");
}

TEST(rcu_flood, of_callbacks_that_queue_callbacks_goes_on) {
  const options_for_children options{"rcu_backlog_max=100"};
  EXPECT_IN_CHILD(([] {
                    static atomic<int> left{20000};
                    const auto again = [](rcu_head* head) {
                      delete head;
                      if (left.fetch_sub_relaxed(2) <= 0) return;
                      for (int i = 0; i < 2; ++i) call_rcu(*new rcu_head, free_head);
                    };
                    for (int i = 0; i < 10000; ++i) call_rcu(*new rcu_head, again);
                    rcu_barrier();
                    rcu_barrier();
                    EXPECT_EQ(outstanding(), 0u);
                  }),
                  "");
}

// --- the first call ---

/// A handler's context, as the irq layer makes it.
class pretended_hardirq {
 public:
  pretended_hardirq() {
    atomic<std::uint32_t>& count = platform::this_cpu().interrupt_count;
    count.store_relaxed(count.load_relaxed() + hardirq_offset);
  }
  ~pretended_hardirq() {
    atomic<std::uint32_t>& count = platform::this_cpu().interrupt_count;
    count.store_relaxed(count.load_relaxed() - hardirq_offset);
  }
  pretended_hardirq(const pretended_hardirq&) = delete;
  pretended_hardirq& operator=(const pretended_hardirq&) = delete;
};

std::size_t threads_of_process() {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& t : std::filesystem::directory_iterator{"/proc/self/task"}) {
    ++count;
  }
  return count;
}

TEST(rcu_first_call, from_an_interrupt_is_run_after_the_next_operation_of_a_task) {
  const options_for_children options{"report=abort"};
  EXPECT_IN_CHILD(
      ([] {
        {
          const pretended_hardirq irq;
          call_rcu(*new rcu_head, free_head);
        }
        synchronize_rcu();  // starts the thread; nobody waits for the callback but this:
        wait_until([] { return outstanding() == 0; });
      }),
      "");
  EXPECT_IN_CHILD(([] {
                    const std::size_t threads_before = threads_of_process();
                    {
                      const pretended_hardirq irq;
                      call_rcu(*new rcu_head, free_head);
                      EXPECT_EQ(outstanding(), 1u);
                      EXPECT_EQ(threads_of_process(), threads_before) << "none starts here";
                    }
                    rcu_barrier();
                    EXPECT_EQ(outstanding(), 0u);
                  }),
                  "");
}

/// A task may hold a spinlock of its own, or stand where a fence depends on it: no thread is started
/// there, because that allocates and takes locks of libc.
TEST(rcu_first_call, in_atomic_context_starts_no_thread) {
  if (thread_sanitizer) GTEST_SKIP() << "ThreadSanitizer starts one itself";
  EXPECT_IN_CHILD(([] {
                    const std::size_t threads_before = threads_of_process();
                    spinlock lock;
                    {
                      const guard g{irqsave, lock};
                      call_rcu(*new rcu_head, free_head);
                      (void)start_poll_synchronize_rcu();
                    }
                    {
                      const guard g{no_mask, lock};
                      call_rcu(*new rcu_head, free_head);
                    }
                    {
                      const bool cookie = dma_fence_begin_signalling();
                      call_rcu(*new rcu_head, free_head);
                      dma_fence_end_signalling(cookie);
                    }
                    EXPECT_EQ(outstanding(), 3u);
                    EXPECT_EQ(threads_of_process(), threads_before);
                    call_rcu(*new rcu_head, free_head);
                    EXPECT_EQ(threads_of_process(), threads_before + 1);
                    wait_until([] { return outstanding() == 0; });
                  }),
                  "");
}

/// A fence that is put in a reader, as each is: nothing is locked there.
TEST(rcu_first_call, in_a_reader_starts_the_thread) {
  EXPECT_IN_CHILD(([] {
                    rcu_read_lock();
                    call_rcu(*new rcu_head, free_head);
                    rcu_read_unlock();
                    wait_until([] { return outstanding() == 0; });
                  }),
                  "");
}

void never_waits_in_a_signalling_section() {
  held_reader reader;
  const bool cookie = dma_fence_begin_signalling();
  for (int i = 0; i < 1000; ++i) call_rcu(*new rcu_head, free_head);
  dma_fence_end_signalling(cookie);
  EXPECT_EQ(outstanding(), 1000u);
  EXPECT_EQ(rcu_get_statistics().callers_pushed_back, 0u);
  reader.leave();
  rcu_barrier();
}

TEST(rcu_flood, pushes_nobody_back_in_a_signalling_section) {
  const options_for_children options{"rcu_backlog_max=100"};
  EXPECT_IN_CHILD(never_waits_in_a_signalling_section, "");
}

// --- stalls ---

[[gnu::noinline]] void dawdle_in_a_reader(const flag& entered, const flag& leave) {
  rcu_read_lock();
  const_cast<flag&>(entered).raise();
  leave.await();
  rcu_read_unlock();
}

const std::string stall_report = "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:(.|\n)*";
/// ThreadSanitizer keeps the signal back that asks the reader for its stack.
const std::string first_frame = thread_sanitizer ? "" : "Call Trace:\n #0 (.|\n)*";

TEST(rcu_stall, is_reported_with_the_reader_and_its_stack_again_and_again) {
  const options_for_children options{"rcu_stall_ms=20:report=log"};
  EXPECT_IN_CHILD(([] {
                    flag entered, leave;
                    kthread reader = start([&] {
                      (void)current_task();
                      dawdle_in_a_reader(entered, leave);
                    });
                    entered.await();
                    kthread updater = start([] { synchronize_rcu(); });
                    wait_until([] { return rcu_get_statistics().stalls >= 2; });
                    leave.raise();
                    reader.join();
                    updater.join();
                  }),
                  stall_report + "Tasks blocked: P[0-9]+ .rcu test., RCU nest depth: 1(.|\n)*" +
                      first_frame + stall_report);
}

TEST(rcu_stall, names_the_function_that_dawdles) {
  SKIP_WITHOUT_LIBDW();
  if (thread_sanitizer) GTEST_SKIP() << "the reader does not answer in time";
  const options_for_children options{"rcu_stall_ms=20:report=log"};
  EXPECT_IN_CHILD(([] {
                    flag entered, leave;
                    kthread reader = start([&] { dawdle_in_a_reader(entered, leave); });
                    entered.await();
                    kthread updater = start([] { synchronize_rcu(); });
                    wait_until([] { return rcu_get_statistics().stalls != 0; });
                    leave.raise();
                    reader.join();
                    updater.join();
                  }),
                  stall_report + "Call Trace:\n(.|\n)*dawdle_in_a_reader");
}

TEST(rcu_stall, is_not_reported_when_switched_off) {
  const options_for_children options{"rcu_stall_ms=0"};
  EXPECT_IN_CHILD(([] {
                    held_reader reader;
                    kthread updater = start([] { synchronize_rcu(); });
                    for (int i = 0; i < 1000; ++i) platform::yield();
                    EXPECT_EQ(rcu_get_statistics().stalls, 0u);
                    reader.leave();
                    updater.join();
                  }),
                  "");
}

}  // namespace
}  // namespace interlock::test
