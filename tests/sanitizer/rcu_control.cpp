// SPDX-License-Identifier: Apache-2.0

/// The control of all runs under ThreadSanitizer: a reader, and an updater that frees at once. If
/// RCU's readers hid races from the sanitizer, or made up an order, this would pass in silence.
/// With any argument the updater waits for a grace period: then nothing may be reported.

#include <cstdio>
#include <memory>

#include "interlock/kthread.hpp"
#include "interlock/rcupdate.hpp"

namespace {

using namespace interlock;

struct record {
  int value;
};
rcu_pointer<record> current;
atomic<int> rounds{0};

int read_once() {
  const guard reader{rcu};
  const record* const found = rcu_dereference(current);
  return found->value;
}

}  // namespace

int main(int argc, char**) {
  const bool waits = argc > 1;
  rcu_assign_pointer(current, new record{1});
  result<kthread> reader = kthread_run("reader", [] {
    int sum = 0;
    while (rounds.load_relaxed() < 20000) sum += read_once();
    return sum == 0 ? 1 : 0;
  });
  if (!reader) return 2;
  for (int i = 0; i < 20000; ++i) {
    std::unique_ptr<record> old{rcu_dereference_protected(current, true)};
    rcu_assign_pointer(current, new record{i + 2});
    if (waits) synchronize_rcu();
    old.reset();
    rounds.fetch_add_relaxed(1);
  }
  const int end = reader->join();
  delete rcu_dereference_protected(current, true);
  std::puts("done");
  return end;
}
