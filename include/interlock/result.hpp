// SPDX-License-Identifier: Apache-2.0
#pragma once

/// `result<T>`: a value or an `interlock::error`, with the member names of `std::expected`
/// (which gcc 12 has only in C++23). Nothing throws: reading the wrong side is a broken contract
/// and stops the program.
/// Context: any, as far as moving and destroying `T` allows.
/// Source: ISO C++23 [expected].

#include <cstdlib>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include "interlock/error.hpp"

namespace interlock {

template <class E>
class unexpected {
 public:
  constexpr explicit unexpected(E e) noexcept : error_{e} {}
  [[nodiscard]] constexpr const E& error() const noexcept { return error_; }

 private:
  E error_;
};

template <class E>
unexpected(E) -> unexpected<E>;

template <class T>
class [[nodiscard]] result {
  static_assert(!std::is_reference_v<T>, "store a pointer instead of a reference");
  static_assert(std::is_nothrow_move_constructible_v<T>, "moving a result does not throw");

 public:
  using value_type = T;
  using error_type = interlock::error;

  // NOLINTBEGIN(google-explicit-constructor): implicit, as in std::expected.
  constexpr result(T value) noexcept : has_value_{true} {
    std::construct_at(std::addressof(value_), std::move(value));
  }
  constexpr result(unexpected<interlock::error> e) noexcept
      : error_{e.error()}, has_value_{false} {}
  constexpr result(interlock::error e) noexcept requires(!std::is_same_v<T, interlock::error>)
      : error_{e}, has_value_{false} {}
  // NOLINTEND(google-explicit-constructor)

  /// From a result of what converts to T: a fence of a class is a fence.
  template <class U>
  requires(!std::is_same_v<U, T> && std::is_nothrow_convertible_v<U, T>) constexpr result(
      result<U>&& other) noexcept  // NOLINT(google-explicit-constructor)
      : has_value_{other.has_value()} {
    if (has_value_) {
      std::construct_at(std::addressof(value_), std::move(*other));
    } else {
      std::construct_at(std::addressof(error_), other.error());
    }
  }

  constexpr result(const result& other) noexcept requires(std::is_nothrow_copy_constructible_v<T>)
      : has_value_{other.has_value_} {
    if (has_value_) {
      std::construct_at(std::addressof(value_), other.value_);
    } else {
      std::construct_at(std::addressof(error_), other.error_);
    }
  }
  constexpr result& operator=(const result& other) noexcept
      requires(std::is_nothrow_copy_constructible_v<T>) {
    return *this = result{other};
  }
  constexpr result(result&& other) noexcept : has_value_{other.has_value_} {
    if (has_value_) {
      std::construct_at(std::addressof(value_), std::move(other.value_));
    } else {
      std::construct_at(std::addressof(error_), other.error_);
    }
  }
  constexpr result& operator=(result&& other) noexcept {
    if (this != &other) {
      std::destroy_at(this);
      std::construct_at(this, std::move(other));
    }
    return *this;
  }
  constexpr ~result() {
    if (has_value_) std::destroy_at(std::addressof(value_));
  }

  [[nodiscard]] constexpr bool has_value() const noexcept { return has_value_; }
  constexpr explicit operator bool() const noexcept { return has_value_; }

  [[nodiscard]] constexpr T& value() & noexcept { return check(), value_; }
  [[nodiscard]] constexpr const T& value() const& noexcept { return check(), value_; }
  [[nodiscard]] constexpr T&& value() && noexcept { return check(), std::move(value_); }

  [[nodiscard]] constexpr T& operator*() & noexcept { return check(), value_; }
  [[nodiscard]] constexpr const T& operator*() const& noexcept { return check(), value_; }
  [[nodiscard]] constexpr T&& operator*() && noexcept { return check(), std::move(value_); }
  constexpr T* operator->() noexcept { return check(), std::addressof(value_); }
  constexpr const T* operator->() const noexcept { return check(), std::addressof(value_); }

  [[nodiscard]] constexpr interlock::error error() const noexcept {
    if (has_value_) std::abort();
    return error_;
  }

  template <class U>
  [[nodiscard]] constexpr T value_or(U&& fallback) && noexcept {
    return has_value_ ? std::move(value_) : static_cast<T>(std::forward<U>(fallback));
  }

 private:
  constexpr void check() const noexcept {
    if (!has_value_) std::abort();
  }

  union {
    T value_;
    interlock::error error_;
  };
  bool has_value_;
};

template <>
class [[nodiscard]] result<void> {
 public:
  using value_type = void;
  using error_type = interlock::error;

  constexpr result() noexcept = default;
  // NOLINTBEGIN(google-explicit-constructor): implicit, as in std::expected.
  constexpr result(unexpected<interlock::error> e) noexcept : error_{e.error()} {}
  constexpr result(interlock::error e) noexcept : error_{e} {}
  // NOLINTEND(google-explicit-constructor)

  [[nodiscard]] constexpr bool has_value() const noexcept { return error_ == no_error; }
  constexpr explicit operator bool() const noexcept { return has_value(); }
  constexpr void value() const noexcept {
    if (!has_value()) std::abort();
  }
  [[nodiscard]] constexpr interlock::error error() const noexcept {
    if (has_value()) std::abort();
    return error_;
  }

 private:
  static constexpr interlock::error no_error{};
  interlock::error error_ = no_error;
};

/// The C edge: 0 or -errno.
[[nodiscard]] constexpr int to_negative_errno(const result<void>& r) noexcept {
  return r ? 0 : to_negative_errno(r.error());
}

}  // namespace interlock

/// Returns the error of `expression` (a `result`) from the calling function, if there is one.
#define INTERLOCK_TRY(expression)                                        \
  do {                                                                   \
    if (auto interlock_try_result = (expression); !interlock_try_result) \
      return ::interlock::unexpected{interlock_try_result.error()};      \
  } while (false)
