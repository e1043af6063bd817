// SPDX-License-Identifier: Apache-2.0

/// A module whose callbacks are code of the module: it may be unloaded after rcu_barrier().

#include "interlock/rcupdate.hpp"

namespace {

struct item {
  interlock::rcu_head rcu;
  interlock::atomic<int>* count;
};

void item_done(interlock::rcu_head* head) {
  auto* const done = reinterpret_cast<item*>(head);
  done->count->fetch_add_relaxed(1);
  delete done;
}

}  // namespace

extern "C" [[gnu::visibility("default")]] void rcu_plugin_queue(interlock::atomic<int>* count,
                                                                int items) {
  for (int i = 0; i < items; ++i) {
    auto* const one = new item{{}, count};
    interlock::call_rcu(one->rcu, item_done);
  }
}
