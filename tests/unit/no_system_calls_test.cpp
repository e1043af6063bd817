// SPDX-License-Identifier: Apache-2.0

/// What is promised to make no system call: each in a child whose kernel kills it for the first one.

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

#include <csignal>
#include <cstddef>

#include "fence_test_support.hpp"
#include "irq_test_support.hpp"
#include "platform_test_support.hpp"

namespace interlock::test {
namespace {

constexpr int no_seccomp = 77;
constexpr int rounds = 1000;

/// From now on this thread may end, return from a signal, and read a clock that the vDSO lacks.
bool forbid_system_calls() {
  constexpr unsigned kill = SECCOMP_RET_KILL_PROCESS;
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 3, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigreturn, 2, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clock_gettime, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, kill),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program{std::size(code), code};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

class no_system_calls : public testing::Test {
 protected:
  void SetUp() override {
    if (thread_sanitizer || address_sanitizer) GTEST_SKIP() << "a sanitizer makes its own";
    if (status_of_child([] { return forbid_system_calls() ? 0 : no_seccomp; }) == no_seccomp) {
      GTEST_SKIP() << "no seccomp filters here";
    }
  }
};

/// `body()` on an online CPU, without system calls, after it has run once with them. 0 if it
/// returned true each time.
template <class Body>
int run_without_system_calls(Body body) {
  if (!online_cpu() || !body()) return 1;
  if (!forbid_system_calls()) return no_seccomp;
  for (int i = 0; i < rounds; ++i) {
    if (!body()) return 2;
  }
  _exit(0);  // here, where nothing is freed any more
}

TEST_F(no_system_calls, end_the_child_that_makes_one) {
  EXPECT_EQ(status_of_child([] { return run_without_system_calls([] { return getppid() != 0; }); }),
            256 + SIGSYS);
}

TEST_F(no_system_calls, by_masking_interrupts) {
  EXPECT_EQ(status_of_child([] {
              return run_without_system_calls([] {
                local_irq_disable();
                const irq_flags off = local_irq_save();
                local_irq_restore(off);
                local_irq_enable();
                const irq_flags on = local_irq_save();
                local_irq_restore(on);
                return !irqs_disabled();
              });
            }),
            0);
}

TEST_F(no_system_calls, by_the_replay_of_an_own_raise) {
  EXPECT_EQ(status_of_child([] {
              const auto line = make_line_on();
              counter runs{0};
              const irq_action action = count_runs(*line, runs);
              return run_without_system_calls([&] {
                const std::uint32_t before = runs.load_relaxed();
                const irq_flags flags = local_irq_save();
                raise_irq(*line);
                const bool held_back = runs.load_relaxed() == before;
                local_irq_restore(flags);
                return held_back && runs.load_relaxed() == before + 1;
              });
            }),
            0);
}

TEST_F(no_system_calls, by_a_raise_on_the_own_cpu) {
  EXPECT_EQ(status_of_child([] {
              const auto line = make_line_on();
              counter runs{0};
              const irq_action action = count_runs(*line, runs);
              return run_without_system_calls([&] {
                const std::uint32_t before = runs.load_relaxed();
                raise_irq(*line);
                return runs.load_relaxed() == before + 1;
              });
            }),
            0);
}

TEST_F(no_system_calls, by_a_signal_for_which_nobody_waits) {
  EXPECT_EQ(status_of_child([] {
              std::vector<ref_ptr<dma_fence>> idle, armed;
              std::vector<counting_callback> callbacks(rounds + 1);
              for (counting_callback& cb : callbacks) {
                idle.push_back(make_mock());
                armed.push_back(make_mock());
                if (!cb.add_to(*armed.back())) return 3;
              }
              std::size_t next = 0;
              return run_without_system_calls([&] {
                const std::size_t i = next++;
                return idle[i]->signal() && armed[i]->signal() &&
                       callbacks[i].runs.load_relaxed() == 1;
              });
            }),
            0);
}

/// Sections of a handler on a thread that has read nowhere else. At the first, second and fourth it
/// is looked whether the thread can be listed.
extern "C" void read_in_handler(int) {
  const auto read = [](int times) {
    for (int i = 0; i < times; ++i) {
      rcu_read_lock();
      rcu_read_unlock();
    }
  };
  read(4);
  if (!forbid_system_calls()) _exit(no_seccomp);
  read(3);
  _exit(0);
}

TEST_F(no_system_calls, by_most_readers_of_a_handler_whose_thread_has_not_read) {
  EXPECT_EQ(status_of_child([] {
              int status = 1;
              std::thread{[&] {
                struct sigaction action {};
                action.sa_handler = read_in_handler;
                sigaction(SIGUSR1, &action, nullptr);
                raise(SIGUSR1);
                status = 2;
              }}.join();
              return status;
            }),
            0);
}

TEST_F(no_system_calls, by_a_reader_of_a_thread_that_its_handlers_have_come_before) {
  EXPECT_EQ(status_of_child([] {
              std::thread{[] {
                struct sigaction action {};
                action.sa_handler = [](int) {
                  for (int i = 0; i < 5; ++i) {
                    rcu_read_lock();
                    rcu_read_unlock();
                  }
                };
                sigaction(SIGUSR1, &action, nullptr);
                raise(SIGUSR1);
                for (int i = 0; i < 5; ++i) {  // the eighth section lists it
                  rcu_read_lock();
                  rcu_read_unlock();
                }
                const bool listed =
                    (platform::this_task().rcu.load_relaxed() & detail::rcu_ready) != 0;
                _exit(listed ? 0 : 3);
              }}.join();
              return 1;
            }),
            0);
}

}  // namespace
}  // namespace interlock::test
