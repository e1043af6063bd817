// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Circular doubly linked intrusive list with C layout (`struct list_head` of <linux/types.h>).
///
/// Nodes are owned by the caller; a list is a head whose `next == prev == &head` when empty.
/// Thread safety: none; protect it by a lock. Context: any.

#include <atomic>
#include <cstddef>

namespace interlock {

struct list_head {
  list_head* next;
  list_head* prev;
};

inline void list_init(list_head& head) noexcept { head.next = head.prev = &head; }

[[nodiscard]] inline bool list_empty(const list_head& head) noexcept { return head.next == &head; }

inline void list_insert_between(list_head& node, list_head& prev, list_head& next) noexcept {
  next.prev = &node;
  node.next = &next;
  node.prev = &prev;
  prev.next = &node;
}

/// Inserts after `head`: the node becomes the first.
inline void list_add(list_head& node, list_head& head) noexcept {
  list_insert_between(node, head, *head.next);
}

/// Inserts before `head`: the node becomes the last.
inline void list_add_tail(list_head& node, list_head& head) noexcept {
  list_insert_between(node, *head.prev, head);
}

/// Unlinks and re-initialises, so that `list_empty(node)` tells "not queued".
inline void list_del_init(list_head& node) noexcept {
  node.prev->next = node.next;
  node.next->prev = node.prev;
  list_init(node);
}

/// Moves all nodes of `from` to `to`, which must be empty; `from` is empty afterwards. In a copy of the
/// memory that is made amid this, as in the child of a fork, `from` is as it was, or empty: nothing on
/// it points to `to` before it has let go.
inline void list_replace_init(list_head& from, list_head& to) noexcept {
  if (list_empty(from)) {
    list_init(to);
    return;
  }
  to = from;
  list_init(from);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  to.next->prev = &to;
  to.prev->next = &to;
}

}  // namespace interlock

/// The object of type `type` whose member `member` is `*pointer`. `type` is standard layout.
#define INTERLOCK_CONTAINER_OF(pointer, type, member) \
  (reinterpret_cast<type*>(reinterpret_cast<char*>(pointer) - offsetof(type, member)))
