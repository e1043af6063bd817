// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Lock-free list: many producers push, a consumer takes all. The kernel's `llist`.
///
/// Context: any, NMI included; a handler that interrupts a push may push too.
/// Invariants: I1. A node is on at most one list. I2. Only `take_all` removes, and it removes all,
///             so a push never dereferences a node that it does not own (no ABA).
/// Ordering:   [L1] push releases the node, [L2] take_all acquires every node pushed before it.

#include "interlock/atomic.hpp"

namespace interlock {

struct llist_node {
  llist_node* next;
};

struct llist_head {
  atomic<llist_node*> first{nullptr};

  /// Pushes `node`. Returns true if the list was empty, so that one producer wakes the consumer.
  /// Order: seq_cst, so that a producer may test "is the consumer asleep" after it.
  bool push(llist_node& node) noexcept {
    llist_node* seen = first.load_relaxed();
    do {
      node.next = seen;
    } while (!first.compare_exchange_seq_cst(seen, &node));  // [L1] pairs with [L2]
    return seen == nullptr;
  }

  /// Takes all nodes, newest first.
  [[nodiscard]] llist_node* take_all() noexcept {
    return first.exchange_seq_cst(nullptr);  // [L2] pairs with [L1]
  }

  [[nodiscard]] bool empty() const noexcept { return first.load_relaxed() == nullptr; }
};

/// Reverses a chain that `take_all` returned: oldest first.
[[nodiscard]] inline llist_node* llist_reverse(llist_node* node) noexcept {
  llist_node* reversed = nullptr;
  while (node != nullptr) {
    llist_node* const next = node->next;
    node->next = reversed;
    reversed = node;
    node = next;
  }
  return reversed;
}

}  // namespace interlock
