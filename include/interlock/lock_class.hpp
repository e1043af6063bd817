// SPDX-License-Identifier: Apache-2.0
#pragma once

/// `lock_class`: which locks are of one kind, for the lock validator of `interlock::checked`.
///
/// The validator learns orders between classes, not between locks, so that it finds a deadlock
/// without two threads meeting in it. The class of a lock is its declaration: all locks that one line
/// of code constructs, or the one variable that the compiler has initialised. Where that is not what
/// you mean, say so, before the lock is first taken:
///
///   constinit lock_class parent_class{"parent"}, child_class{"child"};
///   node::node(bool leaf) { set_lock_class(lock, leaf ? child_class : parent_class); }
///
/// For a wait queue that is the class of its `lock`. A completion's is always its declaration, and so is that of
/// the `wait_lock` inside a mutex. On other platforms nothing of it is left. See docs/lock-validator.md.
/// Source: Linux Documentation/locking/lockdep-design.rst (classes).

#include "interlock/mutex.hpp"
#include "interlock/spinlock.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

/// A class with a name, which reports show. Lifetime: static storage; so is that of `name`.
class lock_class {
 public:
  /// Context: any.
  constexpr explicit lock_class(const char* name) noexcept : name_{name} {}
  lock_class(const lock_class&) = delete;
  lock_class& operator=(const lock_class&) = delete;

  /// Context: any.
  [[nodiscard]] constexpr const char* name() const noexcept { return name_; }

 private:
  const char* name_;
};

/// Gives `lock` its class; its former orders stay with the former class. A lock that is constructed
/// anew has the class of its declaration again.
/// Context: any but NMI; nobody holds the lock or waits for it.
inline void set_lock_class(spinlock& lock, const lock_class& which) noexcept {
  platform::event::lock_set_class(&lock, &which, which.name());
}
/// Context: any but NMI; nobody holds the lock or waits for it.
inline void set_lock_class(mutex& lock, const lock_class& which) noexcept {
  platform::event::lock_set_class(&lock, &which, which.name());
}
/// A class is told by its address, so it has to last.
void set_lock_class(spinlock& lock, const lock_class&& which) = delete;
void set_lock_class(mutex& lock, const lock_class&& which) = delete;

}  // namespace interlock::inline INTERLOCK_PLATFORM
