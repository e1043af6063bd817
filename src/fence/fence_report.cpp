// SPDX-License-Identifier: Apache-2.0

/// Descriptions of fences, and the reports and advice about them.
///
/// Contexts: any but NMI; nothing here allocates. The watch is for tasks that wait.

#include "fence/fence_report.hpp"

#include <cstring>

#include "interlock/options.hpp"
#include "interlock_platform/park.hpp"
#include "report/report_lines.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {
namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;

constexpr long watchdog_ms_default = 10000;
constexpr long unread = -1;

constinit atomic<long> watchdog_ms{unread};
constinit atomic<long> report_dropped{unread};

/// Read once: the environment is parsed at each call.
long cached_option(atomic<long>& cache, const char* key, long fallback) noexcept {
  long value = cache.load_relaxed();
  if (value == unread) {
    const long chosen = option_integer(key, fallback);
    value = chosen < 0 ? 0 : chosen;
    cache.store_relaxed(value);
  }
  return value;
}

const char* state_name(const dma_fence& fence) noexcept {
  return fence.test_signaled_flag() ? "signaled" : "unsignaled";
}

}  // namespace

namespace detail {

void put_fence(report_text& out, const dma_fence& fence) noexcept {
  const guard g{rcu};
  out << "driver=" << fence.driver_name() << " timeline=" << fence.timeline_name()
      << " context=" << fence.context << " seqno=" << fence.seqno << ' ' << state_name(fence);
  const int code = fence.error_code.load_relaxed();
  if (code != 0) out << " error=" << code;
}

void report_released_fence(const dma_fence& fence) noexcept {
  report_text text;
  put_warning(text);
  text << "dma_fence_release\nfence released with callbacks pending, which get EDEADLK: ";
  put_fence(text, fence);
  text << '\n';
  submit_report(report_kind::fence_misuse, text);
}

bool reports_dropped_fences() noexcept {
  return cached_option(report_dropped, "fence_report_dropped", 0) != 0;
}

void report_dropped_fence(const dma_fence& fence) noexcept {
  report_text text;
  put_warning(text);
  text << "dma_fence_release\nfence released before it was signalled: ";
  put_fence(text, fence);
  text << '\n';
  submit_report(report_kind::fence_misuse, text);
}

overdue_watch::overdue_watch(deadline until) noexcept : until_{until}, next_{until} {
  if (until != no_deadline) return;
  const long ms = cached_option(watchdog_ms, "fence_watchdog_ms", watchdog_ms_default);
  if (ms == 0) return;
  began_ = platform::now();
  next_ = began_ + milliseconds{ms};
}

void overdue_watch::begin(report_text& out, location where) noexcept {
  const auto waited = duration_cast<milliseconds>(platform::now() - began_).count();
  out << "INFO: task ";
  put_name(out);
  out << ':' << reporter_id() << " blocked for more than " << waited / 1000 << " seconds.\n"
      << "waiting at " << where << " for " << waited << " ms for\n";
}

void overdue_watch::submit(report_text& out) noexcept {
  submit_report(report_kind::fence_overdue, out);
  next_ = began_ + 2 * (next_ - began_);
}

}  // namespace detail

std::size_t dma_fence::describe(char* buffer, std::size_t size) const noexcept {
  if (size == 0) return 0;
  constexpr std::size_t small = 512;
  char own[small];
  report_text text{own, small};
  detail::put_fence(text, *this);
  const std::size_t length = text.size() < size ? text.size() : size - 1;
  std::memcpy(buffer, text.c_str(), length);
  buffer[length] = '\0';
  return length;
}

}  // namespace interlock::inline INTERLOCK_PLATFORM
