// SPDX-License-Identifier: Apache-2.0

/// liburcu, its readers inlined.

#if defined(INTERLOCK_BENCH_LIBURCU)
#define _LGPL_SOURCE
#define SUFFIX ""
#define IS_LIBRARY 0
#include "rcu_urcu.h"
#else
#include "rcu_peers.h"
#define URCU_PEERS
#endif

const struct rcu_peer* const rcu_urcu_inlined[] = {URCU_PEERS 0};
