// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What the tests of seqno timelines share: a provider that counts what is asked of it.

#include "fence_test_support.hpp"
#include "interlock/seqno_fence.hpp"

namespace interlock::test {

/// A provider with every op. Outlives its timelines: a handler may drop the last reference to one.
struct mock_provider {
  mock_provider() = default;
  mock_provider(const mock_provider&) = delete;
  mock_provider& operator=(const mock_provider&) = delete;
  ~mock_provider() {
    EXPECT_TRUE(eventually([this] { return released.load_acquire() >= to_release; }));
  }

  atomic<int> armed{0};
  atomic<int> disarmed{0};
  atomic<int> released{0};
  atomic<int> status_asked{0};
  atomic<bool> can_arm{true};
  int to_release = 0;               ///< timelines made whose end is told
  std::uint64_t failing_seqno = 0;  ///< its status is -EIO, provider code 99; 0: none
  std::vector<std::pair<std::uint64_t, std::int64_t>> hints;
  void (*on_arm)(seqno_timeline& timeline) = nullptr;

  static mock_provider& of(seqno_timeline* timeline) {
    return *static_cast<mock_provider*>(seqno_timeline_cookie(*timeline));
  }
  static const char* driver_name(seqno_timeline*) { return "mock"; }
  static const char* timeline_name(seqno_timeline*) { return "ring"; }
  static bool arm(seqno_timeline* timeline) {
    mock_provider& self = of(timeline);
    self.armed.fetch_add_relaxed(1);
    if (self.on_arm != nullptr) self.on_arm(*timeline);
    return self.can_arm.load_relaxed();
  }
  static void disarm(seqno_timeline* timeline) { of(timeline).disarmed.fetch_add_relaxed(1); }
  static int status(seqno_timeline* timeline, std::uint64_t seqno, std::uint64_t* provider_code) {
    mock_provider& self = of(timeline);
    self.status_asked.fetch_add_relaxed(1);
    if (seqno != self.failing_seqno || seqno == 0) return 0;
    *provider_code = 99;
    return -EIO;
  }
  static void set_deadline(seqno_timeline* timeline, std::uint64_t seqno, std::int64_t ns) {
    of(timeline).hints.emplace_back(seqno, ns);
  }
  static void release(seqno_timeline*, void* cookie) {
    static_cast<mock_provider*>(cookie)->released.fetch_add_release(1);
  }

  static constexpr seqno_timeline_ops ops{driver_name, timeline_name, arm,    disarm,
                                          status,      set_deadline,  release};
  /// No interrupt: the library polls.
  static constexpr seqno_timeline_ops polled_ops{driver_name, timeline_name, nullptr, nullptr,
                                                 nullptr,     nullptr,       nullptr};
};

inline ref_ptr<seqno_timeline> make_timeline(mock_provider& provider,
                                             const seqno_timeline_options& options = {},
                                             const seqno_timeline_ops& ops = mock_provider::ops) {
  auto timeline = make_seqno_timeline(ops, &provider, make_seqno_buffer(1).value(), 0, options);
  EXPECT_TRUE(timeline.has_value()) << error_name(timeline ? error{} : timeline.error());
  if (ops.release == mock_provider::release) ++provider.to_release;
  return std::move(timeline.value());
}

inline ref_ptr<dma_fence> fence_at(const ref_ptr<seqno_timeline>& timeline, std::uint64_t seqno) {
  return make_seqno_fence(*timeline, seqno).value();
}

/// What an interrupt-driven software device does at the end of its work.
inline std::size_t complete(const ref_ptr<seqno_timeline>& timeline, std::uint64_t seqno) {
  seqno_timeline_advance(*timeline, seqno);
  return seqno_timeline_armed(*timeline) ? seqno_timeline_process(*timeline) : 0;
}

}  // namespace interlock::test
