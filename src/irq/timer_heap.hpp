// SPDX-License-Identifier: Apache-2.0
#pragma once

/// An intrusive pairing heap of timers, earliest first. No locking of its own.
///
/// A timer's `child` is its first child, `sibling` the next child of the same parent, `previous`
/// the one before it, or the parent if it is the first child; null for the root. Source: Fredman,
/// Sedgewick, Sleator, Tarjan, "The pairing heap" (1986).

#include "interlock/hrtimer.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::detail {

/// Makes the later of two roots the first child of the earlier. Either may be null.
inline hrtimer* heap_merge(hrtimer* a, hrtimer* b) noexcept {
  if (a == nullptr) return b;
  if (b == nullptr) return a;
  hrtimer* const parent = b->expires < a->expires ? b : a;
  hrtimer* const child = parent == a ? b : a;
  child->sibling = parent->child;
  if (child->sibling != nullptr) child->sibling->previous = child;
  child->previous = parent;
  parent->child = child;
  return parent;
}

/// Makes one root of a list of siblings: pairs from the left, then all from the right.
inline hrtimer* heap_merge_siblings(hrtimer* first) noexcept {
  hrtimer* pairs = nullptr;  // linked by `sibling`, last pair first
  while (first != nullptr) {
    hrtimer* const a = first;
    hrtimer* const b = a->sibling;
    first = b != nullptr ? b->sibling : nullptr;
    a->sibling = a->previous = nullptr;
    if (b != nullptr) b->sibling = b->previous = nullptr;
    hrtimer* const pair = heap_merge(a, b);
    pair->sibling = pairs;
    pairs = pair;
  }
  hrtimer* root = nullptr;
  while (pairs != nullptr) {
    hrtimer* const next = pairs->sibling;
    pairs->sibling = nullptr;
    root = heap_merge(root, pairs);
    pairs = next;
  }
  return root;
}

inline void heap_insert(hrtimer*& root, hrtimer& timer) noexcept {
  timer.child = timer.sibling = timer.previous = nullptr;
  root = heap_merge(root, &timer);
}

/// Pre: `timer` is in the heap.
inline void heap_remove(hrtimer*& root, hrtimer& timer) noexcept {
  hrtimer* const below = heap_merge_siblings(timer.child);
  if (&timer == root) {
    root = below;
  } else {
    hrtimer* const before = timer.previous;
    (before->child == &timer ? before->child : before->sibling) = timer.sibling;
    if (timer.sibling != nullptr) timer.sibling->previous = before;
    root = heap_merge(root, below);
  }
  timer.child = timer.sibling = timer.previous = nullptr;
}

}  // namespace interlock::inline INTERLOCK_PLATFORM::detail
