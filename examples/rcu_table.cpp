// SPDX-License-Identifier: Apache-2.0

/// A hash table that is read without locks while it changes: see rcu_table.md.

#include <cstdio>
#include <cstdlib>
#include <new>

#include "interlock/kthread.hpp"
#include "interlock/mutex.hpp"
#include "interlock/rcupdate.hpp"

namespace {

using namespace interlock;

constexpr unsigned destinations = 100, buckets = 16;

struct route {
  unsigned destination;
  unsigned port;
  rcu_pointer<route> next;
  rcu_head rcu;
};

class routing_table {
 public:
  /// Any context, a signal handler included. Waits for nobody.
  bool find_port(unsigned destination, unsigned& port) const {
    const guard reader{rcu};
    for (const route* r = rcu_dereference(buckets_[destination % buckets]); r != nullptr;
         r = rcu_dereference(r->next)) {
      if (r->destination != destination) continue;
      port = r->port;  // copied out: after the section *r may be gone
      return true;
    }
    return false;
  }

  /// Task context. Replaces the route if there is one: readers see the old or the new one.
  bool set_port(unsigned destination, unsigned port) {
    auto* const added = new (std::nothrow) route{destination, port, {}, {}};
    if (added == nullptr) return false;
    const guard updater{lock_};
    rcu_pointer<route>& link = find_link(destination);
    route* const replaced = rcu_dereference_protected(link, lock_.held_by_current());
    rcu_init_pointer(added->next, replaced != nullptr ? next_of(*replaced) : nullptr);
    rcu_assign_pointer(link, added);  // complete before it can be seen
    if (replaced != nullptr) delete_rcu<&route::rcu>(replaced);
    return true;
  }

  /// Task context.
  bool erase(unsigned destination) {
    const guard updater{lock_};
    rcu_pointer<route>& link = find_link(destination);
    route* const erased = rcu_dereference_protected(link, lock_.held_by_current());
    if (erased == nullptr) return false;
    rcu_assign_pointer(link, next_of(*erased));
    delete_rcu<&route::rcu>(erased);  // a reader may still stand on it
    return true;
  }

 private:
  route* next_of(const route& r) const {
    return rcu_dereference_protected(r.next, lock_.held_by_current());
  }
  /// What points to the route, or would point to it.
  rcu_pointer<route>& find_link(unsigned destination) {
    rcu_pointer<route>* link = &buckets_[destination % buckets];
    while (true) {
      route* const r = rcu_dereference_protected(*link, lock_.held_by_current());
      if (r == nullptr || r->destination == destination) return *link;
      link = &r->next;
    }
  }

  mutex lock_;  // updaters exclude each other; readers know nothing of it
  rcu_pointer<route> buckets_[buckets];
};

}  // namespace

int main() {
  static routing_table table;
  static atomic<bool> stop{false};
  // Ports of a destination are always equal to it, modulo the number of destinations.
  const auto look_up = [] {
    unsigned wrong = 0, found = 0, port = 0;
    for (unsigned d = 0; !stop.load_relaxed(); d = (d + 1) % destinations) {
      if (!table.find_port(d, port)) continue;
      ++found;
      if (port % destinations != d) ++wrong;
    }
    std::printf("a reader found %u routes, %u of them wrong\n", found, wrong);
    return wrong == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
  };
  result<kthread> first = kthread_run("reader", look_up), second = kthread_run("reader", look_up);
  if (!first || !second) return EXIT_FAILURE;

  for (unsigned round = 1; round <= 1000; ++round) {
    for (unsigned d = round % 7; d < destinations; d += 7) {
      if (round % 3 == 0) (void)table.erase(d);
      if (!table.set_port(d, d + round * destinations)) return EXIT_FAILURE;
    }
  }
  stop.store_relaxed(true);
  const int status = first->join() | second->join();

  for (unsigned d = 0; d < destinations; ++d) (void)table.erase(d);
  rcu_barrier();  // every route has been deleted
  const rcu_statistics s = rcu_get_statistics();
  const auto number = [](auto n) { return static_cast<unsigned long>(n); };
  std::printf("%lu routes were deleted after %lu grace periods\n", number(s.callbacks_invoked),
              number(s.grace_periods));
  return status;
}
