// SPDX-License-Identifier: Apache-2.0
#pragma once

/// RCU as others have it, each behind one table: their headers are C, and inline.

#ifdef __cplusplus
extern "C" {
#endif

struct rcu_peer {
  const char* name;
  void (*enter_thread)(void);
  void (*leave_thread)(void);
  /// `count` times: lock, dereference, read, unlock. Returns the sum of what was read.
  unsigned long (*read)(unsigned long count, const unsigned long* const* pointer);
  void (*synchronize)(void);
  /// `count` times: allocate, and have it freed after a grace period.
  void (*defer)(unsigned long count);
  void (*barrier)(void);
};

/// The peers that were there when this was built; ends with a null pointer.
extern const struct rcu_peer* const rcu_peers[];

#ifdef __cplusplus
}
#endif
