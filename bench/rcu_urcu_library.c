// SPDX-License-Identifier: Apache-2.0

/// liburcu, each of its operations a call into the library.

#if defined(INTERLOCK_BENCH_LIBURCU)
#define SUFFIX "_library"
#define IS_LIBRARY 1
#include "rcu_urcu.h"
#else
#include "rcu_peers.h"
#define URCU_PEERS
#endif

const struct rcu_peer* const rcu_urcu_library[] = {URCU_PEERS 0};
