// SPDX-License-Identifier: Apache-2.0

/// Every function that may sleep says so in atomic context, also when it would not sleep.
/// `tools/contexts.py --check` demands an entry of the table for each "sleeps: yes" of
/// docs/contexts.md.

#include <gtest/gtest.h>

#include <string>

#include "interlock/coroutine.hpp"
#include "interlock/device/job_server.hpp"
#include "interlock/device/simulated_device.hpp"
#include "interlock/hrtimer.hpp"
#include "interlock/irq_work.hpp"
#include "interlock/mutex.hpp"
#include "interlock/rcu.hpp"
#include "interlock/seqno_fence.hpp"
#include "interlock/shutdown.hpp"
#include "interlock/smp.hpp"
#include "irq_test_support.hpp"
#include "support/report_recorder.hpp"

namespace interlock::test {
namespace {

constexpr auto always = [] { return true; };
constexpr auto nothing = [](void*) {};

/// The call alone is in atomic context, not what is made for it and freed after it.
template <class F>
void in_atomic_context(F call) {
  const guard g{no_preempt};
  call();
}

template <class F>
void of_completion(F call) {
  completion c;
  c.complete_all();
  in_atomic_context([&] { call(c); });
}

template <class F>
void of_wait_queue(F call) {
  wait_queue wq;
  in_atomic_context([&] { call(wq); });
}

template <class F>
void of_mutex(F call) INTERLOCK_NO_THREAD_SAFETY_ANALYSIS {
  mutex m;
  in_atomic_context([&] { call(m); });
  m.unlock();
}

template <class F>
void of_fence(F call) {
  const ref_ptr<dma_fence> fence = dma_fence_get_stub();
  in_atomic_context([&] { call(*fence); });
}

template <class F>
void of_line(F call) {
  const ref_ptr<irq_line> line = make_line({.name = "test"});
  in_atomic_context([&] { call(*line); });
}

irqreturn handle() { return irqreturn::handled; }

constexpr job_server_ops server_ops{"test", 0, false,
                                    [](void*, job_entry&) -> std::int64_t { return 0; }, nullptr};

constexpr job_ring_ops ring_ops{"test", 0, false, [](void*) {}};

job_server* make_server() {
  result<job_server*> server = make_job_server(server_ops, nullptr, {});
  EXPECT_TRUE(server.has_value());
  return server.value();
}

struct owned_server {
  owned_server() : server{make_server()} {}
  ~owned_server() { destroy_job_server(server); }
  owned_server(const owned_server&) = delete;
  owned_server& operator=(const owned_server&) = delete;

  job_server* server;
};

struct sleeping_function {
  const char* name;  ///< as in docs/contexts.md
  void (*call)();
  report_kind kind = report_kind::sleep_in_atomic;
};

const sleeping_function sleeping_functions[] = {
    {"make_irq_line", [] { in_atomic_context([] { (void)make_irq_line({.name = "test"}); }); }},
    {"make_job_ring",
     [] {
       (void)service_cpu();  // it could not be started in there
       job_ring* made = nullptr;
       in_atomic_context([&] { made = make_job_ring(ring_ops, nullptr, {}).value(); });
       destroy_job_ring(made);
     }},
    {"make_job_server",
     [] {
       (void)service_cpu();
       job_server* made = nullptr;
       in_atomic_context([&] { made = make_job_server(server_ops, nullptr, {}).value(); });
       destroy_job_server(made);
     }},

    {"completion::wait", [] { of_completion([](completion& c) { c.wait(); }); }},
    {"completion::wait_until",
     [] { of_completion([](completion& c) { (void)c.wait_until(expired_deadline); }); }},
    {"completion::wait_interruptible",
     [] { of_completion([](completion& c) { (void)c.wait_interruptible(); }); }},
    {"completion::wait_killable",
     [] { of_completion([](completion& c) { (void)c.wait_killable(); }); }},

    {"wait_event", [] { of_wait_queue([](wait_queue& wq) { wait_event(wq, always); }); }},
    {"wait_event_until",
     [] {
       of_wait_queue([](wait_queue& wq) { (void)wait_event_until(wq, always, no_deadline); });
     }},
    {"wait_event_interruptible",
     [] { of_wait_queue([](wait_queue& wq) { (void)wait_event_interruptible(wq, always); }); }},
    {"wait_event_killable",
     [] { of_wait_queue([](wait_queue& wq) { (void)wait_event_killable(wq, always); }); }},
    {"wait_event_interruptible_exclusive",
     [] {
       of_wait_queue([](wait_queue& wq) { (void)wait_event_interruptible_exclusive(wq, always); });
     }},
    {"wait_event_exclusive",
     [] { of_wait_queue([](wait_queue& wq) { wait_event_exclusive(wq, always); }); }},

    {"mutex::lock",
     [] { of_mutex([](mutex& m) INTERLOCK_NO_THREAD_SAFETY_ANALYSIS { m.lock(); }); }},
    {"mutex::lock_interruptible", [] { of_mutex([](mutex& m) { (void)m.lock_interruptible(); }); }},
    {"mutex::lock_killable", [] { of_mutex([](mutex& m) { (void)m.lock_killable(); }); }},
    {"mutex::try_lock_until",
     [] { of_mutex([](mutex& m) { (void)m.try_lock_until(expired_deadline); }); }},

    {"schedule_timeout", [] { in_atomic_context([] { (void)schedule_timeout(ktime::zero()); }); },
     report_kind::schedule_in_atomic},
    {"schedule_until", [] { in_atomic_context([] { (void)schedule_until(expired_deadline); }); },
     report_kind::schedule_in_atomic},
    {"schedule", [] { in_atomic_context([] { schedule(); }); }, report_kind::schedule_in_atomic},
    {"cond_resched", [] { in_atomic_context([] { (void)cond_resched(); }); }},
    {"sleep_for", [] { in_atomic_context([] { sleep_for(ktime{-1}); }); }},

    {"kthread_run", [] { in_atomic_context([] { (void)kthread_run("test", [] {}); }); }},
    {"kthread_run_raw",
     [] {
       in_atomic_context([] {
         (void)kthread_run_raw(
             "test", [](void*) { return 0; }, nullptr, nullptr);
       });
     }},
    {"make_simulated_device",
     [] {
       in_atomic_context([] { (void)make_simulated_device("test", [](doorbell_register&) {}); });
     }},
    {"make_simulated_device_raw",
     [] {
       in_atomic_context([] {
         (void)make_simulated_device_raw(
             "test", [](doorbell_register&, void*) {}, nullptr, nullptr);
       });
     }},
    {"simulated_device::remove", [] { in_atomic_context([] { simulated_device{}.remove(); }); }},
    {"kthread::stop", [] { in_atomic_context([] { (void)kthread{}.stop(); }); }},
    {"kthread::join", [] { in_atomic_context([] { (void)kthread{}.join(); }); }},
    {"shutdown", [] { in_atomic_context([] { shutdown(); }); }},

    {"synchronize_rcu", [] { in_atomic_context([] { synchronize_rcu(); }); }},
    {"synchronize_rcu_expedited", [] { in_atomic_context([] { synchronize_rcu_expedited(); }); }},
    {"cond_synchronize_rcu", [] { in_atomic_context([] { cond_synchronize_rcu({}); }); }},
    {"rcu_barrier", [] { in_atomic_context([] { rcu_barrier(); }); }},
    {"rcu_synchronize", [] { in_atomic_context([] { std_rcu::rcu_synchronize(); }); }},

    {"hrtimer_cancel",
     [] {
       hrtimer timer{[](hrtimer&) { return hrtimer_restart::norestart; }};
       in_atomic_context([&] { (void)hrtimer_cancel(timer); });
     }},
    {"irq_work_sync",
     [] {
       irq_work work{[](irq_work&) {}};
       in_atomic_context([&] { irq_work_sync(work); });
     }},
    {"irq_action::free",
     [] {
       const ref_ptr<irq_line> line = make_line({.name = "test"});
       irq_action action = request(*line, handle);
       in_atomic_context([&] { action.free(); });
     }},
    {"request_threaded_irq_raw",
     [] {
       of_line([](irq_line& line) {
         (void)request_threaded_irq_raw(line, nullptr, nullptr, nullptr, nullptr, {});
       });
     }},
    {"request_irq", [] { of_line([](irq_line& line) { (void)request_irq(line, handle); }); }},
    {"request_threaded_irq",
     [] { of_line([](irq_line& line) { (void)request_threaded_irq(line, handle, [] {}); }); }},
    {"disable_irq",
     [] {
       of_line([](irq_line& line) {
         disable_irq(line);
         enable_irq(line);
       });
     }},
    {"synchronize_irq", [] { of_line([](irq_line& line) { synchronize_irq(line); }); }},
    {"smp_call_function_single",
     [] {
       in_atomic_context(
           [] { (void)smp_call_function_single(smp_processor_id(), nothing, nullptr); });
     }},
    {"on_each_cpu", [] { in_atomic_context([] { (void)on_each_cpu(nothing, nullptr); }); }},
    {"nmi_call_function_single",
     [] {
       spinning_cpu cpu;
       in_atomic_context([&] { (void)nmi_call_function_single(cpu.id(), nothing, nullptr); });
     }},

    {"dma_fence::wait", [] { of_fence([](dma_fence& f) { f.wait(); }); }},
    {"dma_fence::wait_until",
     [] { of_fence([](dma_fence& f) { (void)f.wait_until(no_deadline); }); }},
    {"dma_fence::wait_interruptible",
     [] { of_fence([](dma_fence& f) { (void)f.wait_interruptible(); }); }},
    {"dma_fence_wait_any",
     [] {
       of_fence([](dma_fence& f) {
         dma_fence* const fences[] = {&f};
         (void)dma_fence_wait_any(fences, no_deadline);
       });
     }},
    {"seqno_wait_until",
     [] {
       const owned_server owner;
       seqno_timeline& timeline = job_ring_timeline(job_server_ring(*owner.server));
       in_atomic_context([&] { (void)seqno_wait_until(timeline, 0, no_deadline); });
     }},
    {"task_queue::run",
     [] {
       task_queue queue;
       queue.stop();
       in_atomic_context([&] { queue.run(); });
     }},

    {"job_ring_wait",
     [] {
       const owned_server owner;
       job work;
       job_entry entry;
       entry.work = &work;
       in_atomic_context([&] { (void)job_ring_wait(job_server_ring(*owner.server), entry); });
     }},
    {"job_server_sleep",
     [] {
       const owned_server owner;
       const job_entry entry;
       in_atomic_context([&] { (void)job_server_sleep(*owner.server, entry, expired_deadline); });
     }},
    {"destroy_job_server",
     [] {
       job_server* const server = make_server();
       in_atomic_context([&] { destroy_job_server(server); });
     }},
};

class sleeping : public ::testing::TestWithParam<sleeping_function> {
 protected:
  report_recorder reports;
};

TEST_P(sleeping, is_reported_in_atomic_context) {
  GetParam().call();
  EXPECT_TRUE(reports.took(GetParam().kind, "BUG: s"));
}

INSTANTIATE_TEST_SUITE_P(functions, sleeping, ::testing::ValuesIn(sleeping_functions),
                         [](const auto& tested) {
                           std::string name{tested.param.name};
                           for (std::size_t at; (at = name.find("::")) != std::string::npos;) {
                             name.replace(at, 2, "_");
                           }
                           return name;
                         });

}  // namespace
}  // namespace interlock::test
