// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What the explorations of the library itself share.

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <string>
#include <utility>

#include "interlock/interlock.hpp"
#include "interlock/model/explore.hpp"
#include "interlock/model/gtest.hpp"

namespace interlock::test {

/// Every execution: the test then asserts `complete()`.
inline model::options all(unsigned cpus = 2) {
  model::options o;
  o.granularity = model::granularity::library;
  o.cpus = cpus;
  o.strategy = model::strategy::exhaustive;
  o.executions = 0;
  o.time = std::chrono::seconds{240};
  return o;
}

/// A sample of them. Not the portfolio: its exhaustive search would take all of such a budget.
inline model::options some(std::uint64_t executions, unsigned cpus = 2) {
  model::options o;
  o.granularity = model::granularity::library;
  o.cpus = cpus;
  o.strategy = model::strategy::samplers;
  o.executions = executions + executions / 2;  // so many of them by pct
  return o;
}

/// As who tests what uses the library: its operations are steps.
inline model::options user(model::options o) {
  o.granularity = model::granularity::user;
  return o;
}

/// Interrupts also where the library holds them back.
inline model::options full(model::options o) {
  o.granularity = model::granularity::full;
  return o;
}

/// Stores wait in a buffer of their CPU: a barrier that is not there shows.
inline model::options tso(model::options o) {
  o.memory = model::memory::tso;
  return o;
}

inline kthread start(const char* name, auto function) {
  return kthread_run(name, std::move(function)).value();
}

inline bool says(const model::report& r, const char* what) {
  return r.text().find(what) != std::string::npos;
}

/// Notes what it took, if INTERLOCK_TEST_COUNTS is set.
inline void note(const model::report& r) {
  if (std::getenv("INTERLOCK_TEST_COUNTS") == nullptr) return;
  std::printf("           %s%llu executions, %llu blocked, %llu steps\n",
              r.complete() ? "all of " : "", static_cast<unsigned long long>(r.executions()),
              static_cast<unsigned long long>(r.blocked()),
              static_cast<unsigned long long>(r.steps()));
}

inline void passes(const model::report& r) {
  note(r);
  EXPECT_TRUE(r.passed()) << r;
}
inline void passes_all(const model::report& r) {
  note(r);
  EXPECT_TRUE(r.passed()) << r;
  EXPECT_TRUE(r.complete()) << r;
}
inline void fails(const model::report& r, const char* what) {
  note(r);
  EXPECT_TRUE(says(r, what)) << r;
}

}  // namespace interlock::test
