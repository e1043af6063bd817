// SPDX-License-Identifier: Apache-2.0

/// A word that two processes share: a peer that works, one that dies, one that writes garbage.
/// Fences across a fork.

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "interlock/fence_fd.hpp"
#include "interlock/rcupdate.hpp"
#include "seqno_test_support.hpp"
#include "support/sanitizers.hpp"

namespace interlock::test {
namespace {

using fence_fork_test = report_test;

class seqno_shared_fork_test : public report_test {
  void SetUp() override { SKIP_IF_CHILDREN_HAVE_NO_THREADS(); }
};

constexpr deadline far_away = no_deadline - ktime{1};

/// Runs `body` in a child, which ends with its result.
template <class Body>
pid_t run_child(Body body) {
  const pid_t child = fork();
  if (child == 0) _exit(body());
  return child;
}

/// Its exit status, or 256 + the signal that ended it.
int end_of(pid_t child) {
  int status = -1;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

struct shared_word {
  mock_provider provider;
  ref_ptr<seqno_buffer> buffer = make_seqno_buffer(2, true).value();
  ref_ptr<seqno_timeline> timeline = on(buffer, 0);
  seqno_cell& cell = seqno_buffer_cell(*buffer, 0);

  ref_ptr<seqno_timeline> on(const ref_ptr<seqno_buffer>& memory, std::size_t index) {
    return make_seqno_timeline(mock_provider::polled_ops, &provider, memory, index).value();
  }
};

TEST_F(seqno_shared_fork_test, a_peer_advances_what_we_wait_for) {
  shared_word word;
  const auto fence = fence_at(word.timeline, 3);
  const pid_t peer = run_child([&] {
    // As a peer that got the descriptor would: it maps the file anew.
    mock_provider provider;
    const auto memory = import_seqno_buffer(seqno_buffer_fd(*word.buffer), 2).value();
    const auto timeline = make_seqno_timeline(mock_provider::ops, &provider, memory, 0).value();
    for (std::uint64_t n = 1; n <= 3; ++n) {
      while (seqno_timeline_cell(*timeline).waiters.load_acquire() == 0) schedule();
      seqno_timeline_advance(*timeline, n);
    }
    return 0;
  });
  for (std::uint64_t n = 1; n <= 3; ++n) {
    EXPECT_EQ(seqno_wait_until(*word.timeline, n, far_away), seqno_wait_end::passed);
  }
  EXPECT_EQ(end_of(peer), 0);
  EXPECT_TRUE(fence->wait_until(far_away));
}

TEST_F(seqno_shared_fork_test, two_processes_answer_each_other) {
  constexpr std::uint64_t rounds = 300;
  shared_word word;
  const auto back = word.on(word.buffer, 1);
  const pid_t peer = run_child([&] {
    for (std::uint64_t n = 1; n <= rounds; ++n) {
      if (seqno_wait_until(*word.timeline, n, far_away) != seqno_wait_end::passed) return 1;
      seqno_timeline_advance(*back, n);
    }
    return 0;
  });
  for (std::uint64_t n = 1; n <= rounds; ++n) {
    seqno_timeline_advance(*word.timeline, n);
    ASSERT_EQ(seqno_wait_until(*back, n, far_away), seqno_wait_end::passed);
  }
  EXPECT_EQ(end_of(peer), 0);
}

TEST_F(seqno_shared_fork_test, a_dead_peers_fences_stay_until_somebody_fails_them) {
  shared_word word;
  const auto done = fence_at(word.timeline, 1);
  const auto open = fence_at(word.timeline, 2);
  const pid_t peer = run_child([&] {
    word.cell.value.store_release(1);
    raise(SIGKILL);
    return 0;
  });
  EXPECT_EQ(end_of(peer), 256 + SIGKILL);
  EXPECT_TRUE(done->wait_until(far_away));
  EXPECT_FALSE(open->wait_until(deadline_after(std::chrono::milliseconds{5})));
  seqno_timeline_fail(*word.timeline, error::owner_dead);
  open->wait();
  EXPECT_EQ(open->status(), -EOWNERDEAD);
}

TEST_F(seqno_shared_fork_test, a_peer_that_stalls_holds_up_its_own_fences_only) {
  shared_word word;
  const auto neighbour = word.on(word.buffer, 1);
  const auto done = fence_at(word.timeline, 1);
  const auto open = fence_at(word.timeline, 2);
  open->enable_sw_signaling();
  const pid_t peer = run_child([&] {
    word.cell.value.store_release(1);
    raise(SIGSTOP);
    word.cell.value.store_release(2);
    return 0;
  });
  int status = 0;
  ASSERT_EQ(waitpid(peer, &status, WUNTRACED), peer);
  ASSERT_TRUE(WIFSTOPPED(status));
  EXPECT_TRUE(done->wait_until(far_away));
  EXPECT_FALSE(open->wait_until(deadline_after(std::chrono::milliseconds{5})));
  for (std::uint64_t n = 1; n <= 100; ++n) {
    const auto fence = fence_at(neighbour, n);
    fence->enable_sw_signaling();
    seqno_timeline_advance(*neighbour, n);
    ASSERT_TRUE(fence->wait_until(far_away));
  }
  EXPECT_FALSE(open->is_signaled());
  kill(peer, SIGCONT);
  EXPECT_TRUE(open->wait_until(deadline_after(std::chrono::seconds{60})));
  EXPECT_EQ(open->status(), 1);
  EXPECT_EQ(end_of(peer), 0);
}

/// The peer says that nobody waits, so that our own producer does not ring.
TEST_F(seqno_shared_fork_test, a_ring_that_a_peer_has_suppressed_is_not_relied_on) {
  shared_word word;
  seqno_wait_end end{};
  kthread waiter = start("waiter", [&] { end = seqno_wait_until(*word.timeline, 1, far_away); });
  ASSERT_TRUE(eventually([&] { return word.cell.waiters.load_acquire() != 0; }));
  EXPECT_EQ(end_of(run_child([&] {
              word.cell.waiters.store_release(0);
              return 0;
            })),
            0);
  seqno_timeline_advance(*word.timeline, 1);
  EXPECT_EQ(seqno_timeline_get_statistics(*word.timeline).rings, 0u);
  waiter.join();
  EXPECT_EQ(end, seqno_wait_end::passed);
}

TEST_F(seqno_shared_fork_test, garbage_harms_no_other_timeline) {
  shared_word word;
  const auto neighbour = word.on(word.buffer, 1);
  const auto latched = fence_at(word.timeline, 1);
  const auto beyond = fence_at(word.timeline, UINT64_MAX);
  beyond->enable_sw_signaling();
  word.cell.value.store_release(1);
  EXPECT_TRUE(latched->is_signaled());
  const pid_t peer = run_child([&] {
    std::uint64_t noise = 88172645463325252ull;
    for (;;) {
      noise ^= noise << 13;
      noise ^= noise >> 7;
      noise ^= noise << 17;
      word.cell.value.store_relaxed(noise >> 1);  // any but the one that we wait for
      word.cell.waiters.store_relaxed(static_cast<std::uint32_t>(noise));
      word.cell.doorbell.store_relaxed(static_cast<std::uint32_t>(noise >> 32));
    }
    return 0;
  });
  const deadline until = deadline_after(std::chrono::milliseconds{50});
  EXPECT_EQ(seqno_wait_until(*word.timeline, UINT64_MAX, until), seqno_wait_end::timed_out);
  for (std::uint64_t n = 1; n <= 100; ++n) {
    const auto fence = fence_at(neighbour, n);
    fence->enable_sw_signaling();
    seqno_timeline_advance(*neighbour, n);
    EXPECT_TRUE(fence->wait_until(far_away));
    seqno_timeline_process(*word.timeline);
    seqno_timeline_advance(*word.timeline, n);
  }
  EXPECT_TRUE(latched->is_signaled());
  EXPECT_FALSE(beyond->is_signaled());
  kill(peer, SIGKILL);
  EXPECT_EQ(end_of(peer), 256 + SIGKILL);
  seqno_timeline_fail(*word.timeline, error::bad_message);
  EXPECT_EQ(beyond->status(), -EBADMSG);
}

// --- fences across a fork ------------------------------------------------------------------------

TEST_F(fence_fork_test, fences_work_in_a_child) {
  const auto before = make_mock(1, 1);
  counting_callback cb;
  ASSERT_TRUE(cb.add_to(*before));
  const pid_t child = run_child([&] {
    if (!before->signal() || cb.runs.load_relaxed() != 1) return 1;
    const auto fresh = make_mock(1, 2);
    kthread signaller = start("signaller", [&] { fresh->signal(); });
    fresh->wait();
    signaller.join();
    const auto fd = fence_fd::open(*fresh);
    if (!fd) return 2;
    { const auto dropped = make_mock(1, 3); }
    rcu_barrier();
    return fresh->status() == 1 ? 0 : 3;
  });
  EXPECT_EQ(end_of(child), 0);
  EXPECT_EQ(cb.runs.load_relaxed(), 0) << "the parent's fence is another";
  EXPECT_TRUE(before->signal());
}

TEST_F(seqno_shared_fork_test, a_polled_timeline_can_be_made_and_used_in_a_child) {
  shared_word word;  // the parent's service CPU runs
  const pid_t child = run_child([&] {
    const auto timeline = word.on(word.buffer, 1);
    const auto fence = fence_at(timeline, 1);
    fence->enable_sw_signaling();
    seqno_timeline_cell(*timeline).value.store_release(1);
    if (!fence->wait_until(deadline_after(std::chrono::seconds{60}))) return 1;
    // One that the parent made.
    const auto old = fence_at(word.timeline, 1);
    old->enable_sw_signaling();
    word.cell.value.store_release(1);
    return old->wait_until(deadline_after(std::chrono::seconds{60})) ? 0 : 2;
  });
  EXPECT_EQ(end_of(child), 0);
}

/// Another thread signals fences of a timeline, and stays in a callback, when the fork happens.
TEST_F(seqno_shared_fork_test, a_timeline_that_was_being_processed_works_in_the_child) {
  mock_provider provider;
  const auto timeline = make_timeline(provider);
  const auto first = fence_at(timeline, 1);
  struct blocking {
    dma_fence_cb cb;
    atomic<int> step{0};
  } block;
  ASSERT_TRUE(first->add_callback(block.cb, [](dma_fence*, dma_fence_cb* cb) {
    blocking& self = *INTERLOCK_CONTAINER_OF(cb, blocking, cb);
    self.step.store_release(1);
    while (self.step.load_acquire() == 1) platform::cpu_relax();
  }));
  kthread processor = start("processor", [&] { complete(timeline, 1); });
  ASSERT_TRUE(eventually([&] { return block.step.load_acquire() == 1; }));
  const pid_t child = run_child([&] {
    const auto own = fence_at(timeline, 2);
    own->enable_sw_signaling();
    complete(timeline, 2);
    return own->test_signaled_flag() ? 0 : 1;
  });
  EXPECT_EQ(end_of(child), 0);
  block.step.store_release(2);
  (void)processor.join();
}

/// A callback belongs to the process that added it: not even a timeline that fails runs it here.
TEST_F(seqno_shared_fork_test, callbacks_of_the_parent_do_not_run_in_the_child) {
  mock_provider provider;
  const auto timeline = make_timeline(provider);
  const auto fence = fence_at(timeline, 1);
  counting_callback cb;
  ASSERT_TRUE(cb.add_to(*fence));
  const pid_t child = run_child([&] {
    counting_callback own;
    if (!own.add_to(*fence)) return 1;
    complete(timeline, 1);
    if (own.runs.load_relaxed() != 1) return 2;
    if (cb.runs.load_relaxed() != 0) return 3;
    return fence->remove_callback(cb.cb) ? 4 : 0;
  });
  EXPECT_EQ(end_of(child), 0);
  complete(timeline, 1);
  EXPECT_EQ(cb.runs.load_relaxed(), 1);
}

TEST_F(seqno_shared_fork_test, a_child_does_not_make_the_parents_descriptor_readable) {
  const auto fence = make_mock();
  const fence_fd fd = fence_fd::open(*fence).value();
  const pid_t child = run_child([&] { return fence->signal() ? 0 : 1; });
  EXPECT_EQ(end_of(child), 0);
  pollfd ready{fd.get(), POLLIN, 0};
  EXPECT_EQ(poll(&ready, 1, 0), 0);
  fence->signal();
  EXPECT_EQ(poll(&ready, 1, 0), 1);
}

}  // namespace
/// An interval so long that no poll is cut short by the fork.
TEST_F(seqno_shared_fork_test, a_polled_fence_is_signalled_in_a_child_too) {
  mock_provider provider;
  const auto timeline = make_timeline(provider, {.poll_interval = std::chrono::milliseconds{50}},
                                      mock_provider::polled_ops);
  const auto armed = fence_at(timeline, 1);
  const auto unarmed = fence_at(timeline, 1);
  armed->enable_sw_signaling();
  const pid_t child = run_child([&] {
    if (unarmed->wait_until(deadline_after(std::chrono::milliseconds{5}))) return 1;
    if (armed->status() != 0 || unarmed->status() != 0) return 2;
    seqno_timeline_cell(*timeline).value.store_release(1);  // its own copy
    if (!armed->wait_until(deadline_after(std::chrono::seconds{10}))) return 3;
    if (!unarmed->wait_until(deadline_after(std::chrono::seconds{10}))) return 4;
    return armed->status() == 1 && unarmed->status() == 1 ? 0 : 5;
  });
  EXPECT_EQ(end_of(child), 0);
  seqno_timeline_cell(*timeline).value.store_release(1);
  armed->wait();
  EXPECT_EQ(armed->status(), 1);
}

}  // namespace interlock::test
