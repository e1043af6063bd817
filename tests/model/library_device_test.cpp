// SPDX-License-Identifier: Apache-2.0

/// Job rings on the simulated machine: a device whose thread does one job after another.

#include <new>

#include "interlock/device/job_server.hpp"
#include "model/library_support.hpp"

namespace interlock::test {
namespace {

/// Writes what the job points to.
std::int64_t perform(void*, job_entry& entry) {
  ++*static_cast<int*>(entry.work->cookie);
  return 1;
}
constexpr job_server_ops ops{.driver_name = "test",
                             .kinds = kind_bit(job_kind::execute),
                             .faults = false,
                             .perform = perform,
                             .interrupt = nullptr};
std::int64_t nothing(job&) { return 0; }

/// One job that counts in `n`.
struct counting_job : job {
  explicit counting_job(int& n) {
    kind = job_kind::execute;
    execute = nothing;
    cookie = &n;
  }
};

device_queue_options small() {
  device_queue_options o;
  o.ring_size = 2;
  return o;
}

TEST(library_device, a_job_is_done_when_its_fence_is) {
  const model::expectations here;
  passes(model::explore(some(4000), [] {
    int n = 0;
    counting_job work{n};
    job_server* const server = *make_job_server(ops, nullptr, small());
    const auto fence = *job_ring_submit(job_server_ring(*server), work);
    fence->wait();
    EXPECT_EQ(n, 1);
    EXPECT_EQ(work.result, 1);
    destroy_job_server(server);
  }));
}

/// The device sleeps, or is about to, when the job comes.
TEST(library_device, a_device_that_sleeps_is_woken) {
  passes(model::explore(tso(some(4000)), [] {
    int n = 0;
    counting_job work{n};
    job_server* const server = *make_job_server(ops, nullptr, small());
    const auto fence = *job_ring_submit(job_server_ring(*server), work);
    fence->wait();
    destroy_job_server(server);
  }));
}

const char* name_of(dma_fence*) { return "foreign"; }
constexpr dma_fence_ops foreign_ops = [] {
  dma_fence_ops table{};
  table.get_driver_name = table.get_timeline_name = name_of;
  return table;
}();

/// A fence that no word in memory stands for: its callback looks for the sleeper.
TEST(library_device, a_device_that_sleeps_for_a_fence_is_woken) {
  passes(model::explore(tso(some(4000)), [] {
    int n = 0;
    const auto fence = ref_ptr<dma_fence>::adopt(
        new (std::malloc(sizeof(dma_fence))) dma_fence{foreign_ops, dma_fence_context_alloc(), 1});
    counting_job work{n};
    work.waits[0] = fence;
    job_server* const server = *make_job_server(ops, nullptr, small());
    const auto done = *job_ring_submit(job_server_ring(*server), work);
    fence->signal();
    done->wait();
    destroy_job_server(server);
  }));
}

/// Waited for in the order of their seqnos: whoever asks for a fence that nobody has armed signals it,
/// and the machine takes it for disorder if an earlier one is asked for afterwards.
TEST(library_device, jobs_of_two_submitters_are_done) {
  const model::expectations here;
  passes(model::explore(some(4000, 3), [] {
    int n = 0;
    counting_job first{n};
    counting_job second{n};
    job_server* const server = *make_job_server(ops, nullptr, small());
    job_ring& ring = job_server_ring(*server);
    ref_ptr<dma_fence> fences[2];
    const auto submit = [&](job& work) {
      auto fence = *job_ring_submit(ring, work);
      auto& place = fences[fence->seqno - 1];
      place = std::move(fence);
    };
    auto other = start("other", [&] { submit(second); });
    submit(first);
    (void)other.join();
    for (const auto& fence : fences) fence->wait();
    EXPECT_EQ(n, 2);
    destroy_job_server(server);
  }));
}

}  // namespace
}  // namespace interlock::test
