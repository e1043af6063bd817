// SPDX-License-Identifier: Apache-2.0
#pragma once

/// A reference count with C layout that saturates instead of wrapping, and a smart pointer over it.
/// Source: Linux include/linux/refcount.h, memory ordering section.

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "interlock/atomic.hpp"

namespace interlock {

/// Invariants: I1. 0 is final: a reference taken of it saturates, and is no reference to anything.
///             I2. A count that reaches the upper half, or goes below 0, stays there for ever: a leak
///             is safer than a use after free.
/// Context: any, NMI included.
struct refcount {
  atomic<std::uint32_t> count{1};

  static constexpr std::uint32_t saturated = 0xc000'0000u;
  static constexpr std::uint32_t limit = 0x8000'0000u;

  /// The caller holds a reference already. Order: none needed.
  void get() noexcept {
    const std::uint32_t old = count.fetch_add_relaxed(1);
    if (is_wrong(old)) [[unlikely]]
      count.store_relaxed(saturated);
  }

  /// Takes a reference unless the count has reached 0. Order: acquire on success is not needed by
  /// lookups under RCU, whose pointer load is ordered already.
  [[nodiscard]] bool get_unless_zero() noexcept {
    std::uint32_t old = count.load_relaxed();
    do {
      if (old == 0) return false;
    } while (!count.compare_exchange_relaxed(old, old < limit ? old + 1 : saturated));
    return true;
  }

  /// Drops a reference; true for the last one, which then owns the object.
  /// Order: [R1] release, and acquire for the last: all uses of the object happen before its end.
  [[nodiscard]] bool put() noexcept {
    const std::uint32_t old = count.fetch_sub_acq_rel(1);  // [R1] pairs with itself
    if (is_wrong(old)) [[unlikely]]
      count.store_relaxed(saturated);
    return old == 1;
  }

  [[nodiscard]] std::uint32_t read() const noexcept { return count.load_relaxed(); }

  /// A count that no holder of a reference can see: 0, or saturated.
  static constexpr bool is_wrong(std::uint32_t seen) noexcept { return seen == 0 || seen >= limit; }
};

/// A nullable smart pointer over objects with `intrusive_get(T&)` and `intrusive_put(T&)`, found by
/// argument-dependent lookup. Same size as a pointer.
/// Context: any, as far as `intrusive_put` allows when the last reference is dropped.
template <class T>
class ref_ptr {
 public:
  using element_type = T;

  constexpr ref_ptr() noexcept = default;
  constexpr ref_ptr(std::nullptr_t) noexcept {}  // NOLINT(google-explicit-constructor)
  ref_ptr(const ref_ptr& other) noexcept : object_{other.object_} {
    if (object_ != nullptr) intrusive_get(*object_);
  }
  ref_ptr(ref_ptr&& other) noexcept : object_{std::exchange(other.object_, nullptr)} {}
  template <class U>
  requires std::is_convertible_v<U*, T*> ref_ptr(ref_ptr<U> other)
  noexcept : object_{other.release()} {}  // NOLINT: implicit, as a pointer
  ref_ptr& operator=(ref_ptr other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~ref_ptr() {
    if (object_ != nullptr) intrusive_put(*object_);
  }

  /// Takes over the reference that the caller owns.
  [[nodiscard]] static ref_ptr adopt(T* object) noexcept {
    ref_ptr p;
    p.object_ = object;
    return p;
  }
  /// Takes a new reference.
  [[nodiscard]] static ref_ptr share(T& object) noexcept {
    intrusive_get(object);
    return adopt(&object);
  }
  /// Gives the reference to the caller.
  [[nodiscard]] T* release() noexcept { return std::exchange(object_, nullptr); }
  void reset() noexcept { *this = ref_ptr{}; }

  [[nodiscard]] T* get() const noexcept { return object_; }
  T& operator*() const noexcept { return *object_; }
  T* operator->() const noexcept { return object_; }
  explicit operator bool() const noexcept { return object_ != nullptr; }
  friend bool operator==(const ref_ptr& a, const ref_ptr& b) noexcept {
    return a.object_ == b.object_;
  }
  friend bool operator==(const ref_ptr& a, std::nullptr_t) noexcept { return a.object_ == nullptr; }

 private:
  T* object_ = nullptr;
};

}  // namespace interlock
