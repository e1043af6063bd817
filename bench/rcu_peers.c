// SPDX-License-Identifier: Apache-2.0

/// liburcu in its two flavours for programs like ours, and Concurrency Kit's epochs; all inlined.

#include "rcu_peers.h"

#include <stddef.h>
#include <stdlib.h>

#if defined(INTERLOCK_BENCH_LIBURCU)

#define _LGPL_SOURCE
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wcast-qual"
#pragma GCC diagnostic ignored "-Wshadow"
#include <urcu/urcu-bp.h>
#include <urcu/urcu-memb.h>

// One header serves the callbacks of all flavours, and declares those of the first that includes
// it.
void urcu_memb_call_rcu(struct rcu_head* head, void (*func)(struct rcu_head* head));
void urcu_memb_barrier(void);

struct urcu_object {
  struct rcu_head head;
  unsigned long payload;
};

static void urcu_free(struct rcu_head* head) { free(head); }

#define DEFINE_URCU_PEER(flavour, enter, leave)                                                   \
  static unsigned long flavour##_read(unsigned long count, const unsigned long* const* pointer) { \
    unsigned long sum = 0;                                                                        \
    for (unsigned long i = 0; i < count; ++i) {                                                   \
      urcu_##flavour##_read_lock();                                                               \
      sum += *rcu_dereference(*pointer);                                                          \
      urcu_##flavour##_read_unlock();                                                             \
    }                                                                                             \
    return sum;                                                                                   \
  }                                                                                               \
  static void flavour##_defer(unsigned long count) {                                              \
    for (unsigned long i = 0; i < count; ++i) {                                                   \
      struct urcu_object* object = malloc(sizeof *object);                                        \
      urcu_##flavour##_call_rcu(&object->head, urcu_free);                                        \
    }                                                                                             \
  }                                                                                               \
  static void flavour##_synchronize(void) { urcu_##flavour##_synchronize_rcu(); }                 \
  static void flavour##_barrier(void) { urcu_##flavour##_barrier(); }                             \
  static const struct rcu_peer flavour##_peer = {                                                 \
      "urcu_" #flavour, enter, leave, flavour##_read, flavour##_synchronize, flavour##_defer,     \
      flavour##_barrier};

static void nothing(void) {}
static void memb_enter(void) { urcu_memb_register_thread(); }
static void memb_leave(void) { urcu_memb_unregister_thread(); }

DEFINE_URCU_PEER(memb, memb_enter, memb_leave)
DEFINE_URCU_PEER(bp, nothing, nothing)

#pragma GCC diagnostic pop

#endif

#if defined(INTERLOCK_BENCH_LIBCK)

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wcast-qual"
#pragma GCC diagnostic ignored "-Wshadow"
#include <ck_epoch.h>

static ck_epoch_t epoch;
static __thread ck_epoch_record_t* record;

struct ck_object {
  ck_epoch_entry_t entry;
  unsigned long payload;
};

static void ck_free(ck_epoch_entry_t* entry) { free(entry); }

/// The first thread enters before any other exists.
static void ck_enter(void) {
  static int initialised = 0;
  if (!initialised) {
    ck_epoch_init(&epoch);
    initialised = 1;
  }
  record = ck_epoch_recycle(&epoch, NULL);
  if (record != NULL) return;
  record = aligned_alloc(
      CK_MD_CACHELINE, (sizeof *record + CK_MD_CACHELINE - 1) / CK_MD_CACHELINE * CK_MD_CACHELINE);
  ck_epoch_register(&epoch, record, NULL);
}
static void ck_leave(void) { ck_epoch_unregister(record); }

static unsigned long ck_read(unsigned long count, const unsigned long* const* pointer) {
  unsigned long sum = 0;
  for (unsigned long i = 0; i < count; ++i) {
    ck_epoch_begin(record, NULL);
    sum += *(const unsigned long*)ck_pr_load_ptr(pointer);
    ck_epoch_end(record, NULL);
  }
  return sum;
}
static void ck_synchronize(void) { ck_epoch_synchronize(record); }
/// It has no thread of its own: the caller polls.
static void ck_defer(unsigned long count) {
  for (unsigned long i = 0; i < count; ++i) {
    struct ck_object* object = malloc(sizeof *object);
    ck_epoch_call(record, &object->entry, ck_free);
    if (i % 64 == 0) ck_epoch_poll(record);
  }
}
static void ck_barrier(void) { ck_epoch_barrier(record); }

static const struct rcu_peer ck_peer = {"ck_epoch",     ck_enter, ck_leave,  ck_read,
                                        ck_synchronize, ck_defer, ck_barrier};

#pragma GCC diagnostic pop

#endif

const struct rcu_peer* const rcu_peers[] = {
#if defined(INTERLOCK_BENCH_LIBURCU)
    &memb_peer,
    &bp_peer,
#endif
#if defined(INTERLOCK_BENCH_LIBCK)
    &ck_peer,
#endif
    NULL,
};
