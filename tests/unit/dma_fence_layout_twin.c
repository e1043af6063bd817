// SPDX-License-Identifier: Apache-2.0

// The C view of the objects that cross a C boundary. dma_fence_layout_test.cpp compares.

#include <stddef.h>
#include <stdint.h>

struct list_head {
  struct list_head *next, *prev;
};
struct rcu_head {
  struct rcu_head* next;
  void (*func)(struct rcu_head* head);
};
struct spinlock {
  uint32_t word;
};
struct wait_queue {
  struct spinlock lock;
  struct list_head sleepers;
};
struct dma_fence;
struct dma_fence_ops {
  const char* (*get_driver_name)(struct dma_fence* fence);
  const char* (*get_timeline_name)(struct dma_fence* fence);
  _Bool (*enable_signaling)(struct dma_fence* fence);
  _Bool (*signaled)(struct dma_fence* fence);
  int (*wait)(struct dma_fence* fence, _Bool interruptible, int64_t deadline_ns);
  void (*release)(struct dma_fence* fence);
  void (*set_deadline)(struct dma_fence* fence, int64_t deadline_ns);
};
struct dma_fence_cb {
  struct list_head node;
  void (*func)(struct dma_fence* fence, struct dma_fence_cb* cb);
};
struct dma_fence {
  const struct dma_fence_ops* ops;
  union {
    struct list_head cb_list;
    int64_t timestamp_ns;
    struct rcu_head rcu;
  };
  uint64_t context;
  uint64_t seqno;
  uint32_t flags;
  uint32_t refs;
  struct spinlock lock;
  int32_t error_code;
  uint64_t provider_code;
};
struct seqno_cell {
  _Alignas(64) uint64_t value;
  uint32_t waiters;
  uint32_t doorbell;
};

// In the order of the C++ table.
#define FIELD(type, member) sizeof(((type*)0)->member), offsetof(type, member)
const size_t c_layout[] = {
    sizeof(struct list_head),
    FIELD(struct list_head, next),
    FIELD(struct list_head, prev),
    sizeof(struct rcu_head),
    FIELD(struct rcu_head, next),
    FIELD(struct rcu_head, func),
    sizeof(struct spinlock),
    sizeof(struct wait_queue),
    FIELD(struct wait_queue, lock),
    FIELD(struct wait_queue, sleepers),
    sizeof(struct dma_fence_ops),
    FIELD(struct dma_fence_ops, get_driver_name),
    FIELD(struct dma_fence_ops, get_timeline_name),
    FIELD(struct dma_fence_ops, enable_signaling),
    FIELD(struct dma_fence_ops, signaled),
    FIELD(struct dma_fence_ops, wait),
    FIELD(struct dma_fence_ops, release),
    FIELD(struct dma_fence_ops, set_deadline),
    sizeof(struct dma_fence_cb),
    FIELD(struct dma_fence_cb, node),
    FIELD(struct dma_fence_cb, func),
    sizeof(struct dma_fence),
    FIELD(struct dma_fence, ops),
    FIELD(struct dma_fence, cb_list),
    FIELD(struct dma_fence, timestamp_ns),
    FIELD(struct dma_fence, rcu),
    FIELD(struct dma_fence, context),
    FIELD(struct dma_fence, seqno),
    FIELD(struct dma_fence, flags),
    FIELD(struct dma_fence, refs),
    FIELD(struct dma_fence, lock),
    FIELD(struct dma_fence, error_code),
    FIELD(struct dma_fence, provider_code),
    sizeof(struct seqno_cell),
    FIELD(struct seqno_cell, value),
    FIELD(struct seqno_cell, waiters),
    FIELD(struct seqno_cell, doorbell),
};
const size_t c_layout_size = sizeof(c_layout) / sizeof(c_layout[0]);

// What a C module does with a fence that C++ made.
const char* c_driver_name(struct dma_fence* fence) { return fence->ops->get_driver_name(fence); }
int c_is_signaled(const struct dma_fence* fence) { return (int)(fence->flags & 1u); }
