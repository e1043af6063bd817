// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Names of types, for headers that pass pointers only.

#include "interlock_platform/platform.hpp"

namespace interlock {

struct list_head;
struct llist_node;
struct refcount;
template <class T>
class ref_ptr;
template <class T>
class result;

}  // namespace interlock

namespace interlock::inline INTERLOCK_PLATFORM {

class device_queue;
class irq_action;
class kthread;
struct completion;
struct dma_fence;
struct dma_fence_cb;
struct dma_fence_ops;
struct hrtimer;
struct irq_line;
struct irq_work;
struct job;
struct mutex;
struct provider;
struct rcu_head;
struct report;
struct seqno_buffer;
struct seqno_timeline;
struct spinlock;
struct task;
struct wait_queue;

}  // namespace interlock::inline INTERLOCK_PLATFORM
