// SPDX-License-Identifier: Apache-2.0

#pragma once

/// liburcu's flavours as tables; included once with _LGPL_SOURCE, which inlines its readers, and
/// once without. SUFFIX tells the two apart.

#include "rcu_peers.h"

#include <stddef.h>
#include <stdlib.h>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wcast-qual"
#pragma GCC diagnostic ignored "-Wshadow"
#include <urcu/urcu-bp.h>
#include <urcu/urcu-mb.h>
#include <urcu/urcu-memb.h>
#include <urcu/urcu-qsbr.h>

// One header serves the callbacks of all flavours, and declares those of the first that includes
// it.
#define DECLARE_DEFERRAL(flavour)                                                              \
  void urcu_##flavour##_call_rcu(struct rcu_head* head, void (*func)(struct rcu_head * head)); \
  void urcu_##flavour##_barrier(void);
DECLARE_DEFERRAL(mb)
DECLARE_DEFERRAL(memb)
DECLARE_DEFERRAL(qsbr)

struct urcu_object {
  struct rcu_head head;
  void (*freed)(void);
};

static void urcu_free(struct rcu_head* head) { free(head); }
static void urcu_free_and_tell(struct rcu_head* head) {
  struct urcu_object* object = (struct urcu_object*)(void*)head;
  void (*freed)(void) = object->freed;
  free(object);
  freed();
}

#define DEFINE_URCU_PEER(flavour, enter, leave, in_handlers)                                      \
  static unsigned long flavour##_read(unsigned long count, const unsigned long* const* pointer) { \
    unsigned long sum = 0;                                                                        \
    for (unsigned long i = 0; i < count; ++i) {                                                   \
      urcu_##flavour##_read_lock();                                                               \
      sum += *rcu_dereference(*pointer);                                                          \
      urcu_##flavour##_read_unlock();                                                             \
    }                                                                                             \
    AFTER_SECTIONS_##flavour;                                                                     \
    return sum;                                                                                   \
  }                                                                                               \
  static void flavour##_read_around(void (*inside)(void*), void* argument) {                      \
    urcu_##flavour##_read_lock();                                                                 \
    inside(argument);                                                                             \
    urcu_##flavour##_read_unlock();                                                               \
    AFTER_SECTIONS_##flavour;                                                                     \
  }                                                                                               \
  static void flavour##_defer(unsigned long count, unsigned long size, void (*freed)(void)) {     \
    for (unsigned long i = 0; i < count; ++i) {                                                   \
      struct urcu_object* object = malloc(size);                                                  \
      object->freed = freed;                                                                      \
      urcu_##flavour##_call_rcu(&object->head, freed == NULL ? urcu_free : urcu_free_and_tell);   \
    }                                                                                             \
  }                                                                                               \
  static void flavour##_synchronize(void) { urcu_##flavour##_synchronize_rcu(); }                 \
  static void flavour##_barrier(void) { urcu_##flavour##_barrier(); }                             \
  static const struct rcu_peer flavour##_peer = {"urcu_" #flavour SUFFIX,                         \
                                                 enter,                                           \
                                                 leave,                                           \
                                                 flavour##_read,                                  \
                                                 flavour##_read_around,                           \
                                                 flavour##_synchronize,                           \
                                                 flavour##_defer,                                 \
                                                 flavour##_barrier,                               \
                                                 in_handlers,                                     \
                                                 IS_LIBRARY};

// Its readers cost nothing, and say so now and then: here after each batch.
#define AFTER_SECTIONS_memb ((void)0)
#define AFTER_SECTIONS_bp ((void)0)
#define AFTER_SECTIONS_mb ((void)0)
#define AFTER_SECTIONS_qsbr urcu_qsbr_quiescent_state()

static void nothing(void) {}
static void memb_enter(void) { urcu_memb_register_thread(); }
static void memb_leave(void) { urcu_memb_unregister_thread(); }
static void mb_enter(void) { urcu_mb_register_thread(); }
static void mb_leave(void) { urcu_mb_unregister_thread(); }
static void qsbr_enter(void) { urcu_qsbr_register_thread(); }
static void qsbr_leave(void) { urcu_qsbr_unregister_thread(); }

DEFINE_URCU_PEER(memb, memb_enter, memb_leave, 1)
DEFINE_URCU_PEER(bp, nothing, nothing, 1)
DEFINE_URCU_PEER(mb, mb_enter, mb_leave, 1)
DEFINE_URCU_PEER(qsbr, qsbr_enter, qsbr_leave, 0)

#define URCU_PEERS &memb_peer, &bp_peer, &mb_peer, &qsbr_peer,

#pragma GCC diagnostic pop
