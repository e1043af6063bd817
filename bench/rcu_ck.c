// SPDX-License-Identifier: Apache-2.0

/// Concurrency Kit's epochs, inlined.

#include "rcu_peers.h"

#include <stddef.h>
#include <stdlib.h>

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
  void (*freed)(void);
};

static void ck_free(ck_epoch_entry_t* entry) {
  struct ck_object* object = (struct ck_object*)(void*)entry;
  void (*freed)(void) = object->freed;
  free(object);
  if (freed != NULL) freed();
}

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
static void ck_read_around(void (*inside)(void*), void* argument) {
  ck_epoch_begin(record, NULL);
  inside(argument);
  ck_epoch_end(record, NULL);
}
static void ck_synchronize(void) { ck_epoch_synchronize(record); }
/// It has no thread of its own: the caller polls.
static void ck_defer(unsigned long count, unsigned long size, void (*freed)(void)) {
  for (unsigned long i = 0; i < count; ++i) {
    struct ck_object* object = malloc(size);
    object->freed = freed;
    ck_epoch_call(record, &object->entry, ck_free);
    if (i % 64 == 0) ck_epoch_poll(record);
  }
}
static void ck_barrier(void) { ck_epoch_barrier(record); }

static const struct rcu_peer ck_peer = {
    "ck_epoch",     ck_enter, ck_leave,   ck_read, ck_read_around,
    ck_synchronize, ck_defer, ck_barrier, 0,       0};

#pragma GCC diagnostic pop

#define CK_PEERS &ck_peer,
#else
#define CK_PEERS
#endif

const struct rcu_peer* const rcu_ck[] = {CK_PEERS NULL};
