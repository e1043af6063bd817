// SPDX-License-Identifier: Apache-2.0
#pragma once

/// libcds' general-purpose RCU: instant, buffered, and with a thread that disposes.

#include <cstdlib>
#include <vector>

#include "rcu_peers.h"

#if defined(INTERLOCK_BENCH_LIBCDS)

#include <cds/init.h>
#include <cds/threading/model.h>
#include <cds/urcu/general_buffered.h>
#include <cds/urcu/general_instant.h>
#include <cds/urcu/general_threaded.h>

namespace libcds {

struct object {
  void (*freed)();
};

inline void dispose(void* memory) {
  auto* const o = static_cast<object*>(memory);
  void (*const freed)() = o->freed;
  std::free(o);
  if (freed != nullptr) freed();
}

template <class Implementation>
struct peer {
  using rcu = cds::urcu::gc<Implementation>;

  /// Made before the first thread enters, and never taken down: callbacks may be under way.
  static void enter() {
    static rcu* const singleton = [] {
      cds::Initialize();
      return new rcu;
    }();
    (void)singleton;
    cds::threading::Manager::attachThread();
  }
  static void leave() { cds::threading::Manager::detachThread(); }
  static unsigned long read(unsigned long count, const unsigned long* const* pointer) {
    unsigned long sum = 0;
    for (unsigned long i = 0; i < count; ++i) {
      rcu::access_lock();
      sum += *__atomic_load_n(pointer, __ATOMIC_ACQUIRE);
      rcu::access_unlock();
    }
    return sum;
  }
  static void read_around(void (*inside)(void*), void* argument) {
    rcu::access_lock();
    inside(argument);
    rcu::access_unlock();
  }
  static void synchronize() { rcu::synchronize(); }
  static void defer(unsigned long count, unsigned long size, void (*freed)()) {
    for (unsigned long i = 0; i < count; ++i) {
      auto* const o = static_cast<object*>(std::malloc(size));
      o->freed = freed;
      rcu::retire_ptr(o, dispose);
    }
  }
  static void barrier() { rcu::force_dispose(); }

  static rcu_peer table(const char* name) {
    return {name, enter, leave, read, read_around, synchronize, defer, barrier, 0, 0};
  }
};

}  // namespace libcds

#endif

inline std::vector<const rcu_peer*> rcu_libcds() {
#if defined(INTERLOCK_BENCH_LIBCDS)
  static const rcu_peer instant =
      libcds::peer<cds::urcu::general_instant<>>::table("libcds_instant");
  static const rcu_peer buffered =
      libcds::peer<cds::urcu::general_buffered<>>::table("libcds_buffered");
  static const rcu_peer threaded =
      libcds::peer<cds::urcu::general_threaded<>>::table("libcds_threaded");
  return {&instant, &buffered, &threaded};
#else
  return {};
#endif
}
