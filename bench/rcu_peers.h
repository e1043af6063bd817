// SPDX-License-Identifier: Apache-2.0
#pragma once

/// RCU as others have it, each behind one table: most of their headers are C, and inline.

#ifdef __cplusplus
extern "C" {
#endif

struct rcu_peer {
  const char* name;
  void (*enter_thread)(void);
  void (*leave_thread)(void);
  /// `count` times: lock, dereference, read, unlock. Returns the sum of what was read.
  unsigned long (*read)(unsigned long count, const unsigned long* const* pointer);
  /// Enters a reader, calls `inside(argument)`, leaves it.
  void (*read_around)(void (*inside)(void* argument), void* argument);
  void (*synchronize)(void);
  /// `count` times: allocate `size` bytes, and have them freed after a grace period. `freed`, if
  /// not null, is called for each.
  void (*defer)(unsigned long count, unsigned long size, void (*freed)(void));
  void (*barrier)(void);
  int reads_in_handlers;   ///< its readers may stand in a signal handler
  int is_library_variant;  ///< only its readers differ from another entry
};

/// Each ends with a null pointer; empty where the peer was not there when this was built.
extern const struct rcu_peer* const rcu_urcu_inlined[];
extern const struct rcu_peer* const rcu_urcu_library[];
extern const struct rcu_peer* const rcu_ck[];

#ifdef __cplusplus
}
#endif
