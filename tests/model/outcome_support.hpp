// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Explorations by the machine's own interface, and the states in which their executions end.

#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "interlock_platform/machine.h"

namespace outcome_support {

constexpr unsigned exhaustive = 1;
constexpr unsigned enumerate = 2;

struct outcome {
  std::set<std::string> states;
  bool complete = false;
  std::string failure;
  std::uint64_t executions = 0;
};

/// `state` tells in which state an execution has ended.
inline outcome explore(interlock_machine_options o, void (*body)(void*), std::string (*state)()) {
  outcome out;
  struct context {
    std::set<std::string>& states;
    std::string (*state)();
  } context{out.states, state};
  o.state_context = &context;
  o.state = [](void*, void* of) {
    auto& c = *static_cast<struct context*>(of);
    c.states.insert(c.state());
  };
  interlock_machine_result r{};
  interlock_machine_explore(&o, body, nullptr, &r);
  out.complete = r.complete;
  if (r.failed) out.failure = r.text;
  out.executions = r.executions;
  interlock_machine_result_free(&r);
  return out;
}

/// (threads * steps)! / (steps!)^threads orders.
inline void add_under_a_mutex(unsigned threads, unsigned steps) {
  std::mutex lock;
  unsigned n = 0;
  std::vector<std::thread> all;
  for (unsigned t = 0; t < threads; ++t) {
    all.emplace_back([&] {
      for (unsigned i = 0; i < steps; ++i) {
        const std::lock_guard g{lock};
        ++n;
      }
    });
  }
  for (std::thread& t : all) t.join();
  if (n != threads * steps) std::abort();
}

}  // namespace outcome_support
