// SPDX-License-Identifier: Apache-2.0

/// The measure of a spin: a pause takes 4 to 50 ns, depending on the processor.

#include "sched/spin.hpp"

#include "interlock/atomic.hpp"
#include "interlock_platform/local.hpp"
#include "interlock_platform/park.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::detail {
namespace {

constexpr std::uint32_t unmeasured = 0xffff'ffffu;
constexpr std::int64_t spin_ns_max = 3000;
constexpr std::uint32_t limit_min = 16;
constexpr std::uint32_t limit_max = 1000;
constexpr int sample_pauses = 32;
constexpr int samples = 4;  // the shortest counts: the others may have been preempted

constinit atomic<std::uint32_t> limit_word{unmeasured};

/// Those of the process, when it started: the thread that asks first may be bound to one.
constinit atomic<unsigned> processors{0};

[[gnu::constructor]] void count_processors() noexcept {
  if constexpr (platform::pauses_max > limit_min) {
    processors.store_relaxed(platform::online_processors());
  }
}

std::uint32_t measure() noexcept {
  if constexpr (platform::pauses_max <= limit_min) return platform::pauses_max;
  const unsigned counted = processors.load_relaxed();  // 0: before this library's constructor
  if ((counted != 0 ? counted : platform::online_processors()) < 2) return 0;
  std::int64_t best = INT64_MAX;
  for (int sample = 0; sample < samples; ++sample) {
    const deadline start = platform::now();
    for (int i = 0; i < sample_pauses; ++i) platform::cpu_relax();
    const std::int64_t took = (platform::now() - start).count();
    if (took < best) best = took;
  }
  if (best < 1) best = 1;
  const std::int64_t limit = spin_ns_max * sample_pauses / best;
  if (limit < limit_min) return limit_min;
  return limit > limit_max ? limit_max : static_cast<std::uint32_t>(limit);
}

}  // namespace

std::uint32_t spin_limit() noexcept {
  const std::uint32_t limit = limit_word.load_relaxed();
  if (limit != unmeasured) [[likely]]
    return limit;
  const std::uint32_t measured = measure();
  limit_word.store_relaxed(measured);
  return measured;
}

}  // namespace interlock::inline INTERLOCK_PLATFORM::detail
