// SPDX-License-Identifier: Apache-2.0

/// The timeline of a device's queue: its names, its failed seqnos, its end.
///
/// Invariants: I1. Nothing here belongs to a provider's module: a fence may outlive it.
///             I2. A failure is recorded before the word passes its seqno.
/// Contexts:   ops are called in any context but NMI, under locks of the timeline or of a fence.

#include <cstdlib>
#include <cstring>
#include <new>

#include "device/job_ring_impl.hpp"
#include "interlock/guard.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::device {
namespace {

timeline_record& record_of(seqno_timeline* timeline) noexcept {
  return *static_cast<timeline_record*>(seqno_timeline_cookie(*timeline));
}

int outcome_of(timeline_record& record, std::uint64_t seqno) noexcept {
  guard g{irqsave, record.lock};
  const std::size_t kept = record.failed_runs < timeline_record::history_size
                               ? record.failed_runs
                               : timeline_record::history_size;
  for (std::size_t i = 0; i < kept; ++i) {
    const auto& run = record.history[i];
    if (run.first <= seqno && seqno <= run.last) return run.code;
  }
  return 0;
}

constexpr seqno_timeline_ops timeline_ops() noexcept {
  seqno_timeline_ops ops{};
  ops.get_driver_name = [](seqno_timeline* t) -> const char* { return record_of(t).driver_name; };
  ops.get_timeline_name = [](seqno_timeline* t) -> const char* {
    return record_of(t).timeline_name;
  };
  // The device is told at each store whether a fence is armed: there is nothing to switch on.
  ops.arm = [](seqno_timeline*) { return true; };
  ops.status = [](seqno_timeline* t, std::uint64_t seqno, std::uint64_t*) -> int {
    return outcome_of(record_of(t), seqno);
  };
  ops.release = [](seqno_timeline*, void* cookie) {
    auto* const record = static_cast<timeline_record*>(cookie);
    call_rcu(record->rcu,
             [](rcu_head* head) { std::free(INTERLOCK_CONTAINER_OF(head, timeline_record, rcu)); });
  };
  return ops;
}
constexpr seqno_timeline_ops ops = timeline_ops();

void copy_name(char (&to)[timeline_record::name_size], const char* from) noexcept {
  std::strncpy(to, from != nullptr ? from : "", sizeof to - 1);
  to[sizeof to - 1] = '\0';
}

}  // namespace

void record_failure(timeline_record& record, std::uint64_t seqno, int code) noexcept {
  guard g{irqsave, record.lock};
  if (record.failed_runs != 0) {
    auto& last = record.history[(record.failed_runs - 1) % timeline_record::history_size];
    if (last.last + 1 == seqno && last.code == code) {
      last.last = seqno;
      return;
    }
  }
  record.history[record.failed_runs % timeline_record::history_size] = {seqno, seqno, code};
  ++record.failed_runs;
}

result<ref_ptr<seqno_timeline>> make_device_timeline(const char* driver,
                                                     const char* name) noexcept {
  auto buffer = make_seqno_buffer(1);
  if (!buffer) return buffer.error();
  void* const memory = std::calloc(1, sizeof(timeline_record));
  if (memory == nullptr) return error::not_enough_memory;
  auto* const record = new (memory) timeline_record{};
  copy_name(record->driver_name, driver);
  copy_name(record->timeline_name, name);
  auto timeline = make_seqno_timeline(ops, record, std::move(*buffer), 0);
  if (!timeline) std::free(record);
  return timeline;
}

}  // namespace interlock::inline INTERLOCK_PLATFORM::device
