// SPDX-License-Identifier: Apache-2.0
#pragma once

/// All of Interlock but what is included by name: the adapters that pull in more of the standard
/// library (coroutine.hpp, stop_token.hpp), C++26's spelling of RCU (rcu.hpp), and what only makers
/// of devices need (device/ring_queue.hpp, job_ring.hpp, job_server.hpp). In the order of the layers:

// base: vocabulary
#include "interlock/atomic.hpp"
#include "interlock/error.hpp"
#include "interlock/list.hpp"
#include "interlock/llist.hpp"
#include "interlock/options.hpp"
#include "interlock/refcount.hpp"
#include "interlock/result.hpp"
#include "interlock/time.hpp"
#include "interlock/version.hpp"

// context: where the caller runs
#include "interlock/bottom_half.hpp"
#include "interlock/irqflags.hpp"
#include "interlock/preempt.hpp"
#include "interlock/shutdown.hpp"

// report: broken contracts
#include "interlock/might_sleep.hpp"
#include "interlock/report.hpp"

// sched: tasks
#include "interlock/kthread.hpp"
#include "interlock/task.hpp"

// locking
#include "interlock/guard.hpp"
#include "interlock/lock_class.hpp"
#include "interlock/lock_mode.hpp"
#include "interlock/mutex.hpp"
#include "interlock/spinlock.hpp"

// wait
#include "interlock/completion.hpp"
#include "interlock/wait_queue.hpp"

// rcu
#include "interlock/rcupdate.hpp"

// irq
#include "interlock/cpu.hpp"
#include "interlock/hrtimer.hpp"
#include "interlock/interrupt.hpp"
#include "interlock/irq_work.hpp"
#include "interlock/smp.hpp"
#include "interlock/softirq.hpp"

// fence
#include "interlock/dma_fence.hpp"
#include "interlock/fence_class.hpp"
#include "interlock/fence_fd.hpp"
#include "interlock/seqno_buffer.hpp"
#include "interlock/seqno_fence.hpp"

// device
#include "interlock/device/device_queue.hpp"
#include "interlock/device/provider.hpp"
