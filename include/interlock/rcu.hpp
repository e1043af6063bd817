// SPDX-License-Identifier: Apache-2.0
#pragma once

/// The names of C++26's `<rcu>`, over the one RCU of rcupdate.hpp, in namespace `std_rcu`.
///
/// | here                                  | C++26                                               |
/// |---------------------------------------|-----------------------------------------------------|
/// | `std_rcu::rcu_obj_base<T, D>::retire` | the same                                            |
/// | `std_rcu::rcu_domain`                 | the same: Lockable, regions nest, one default domain |
/// | `std_rcu::rcu_synchronize`, `rcu_barrier` | the same; neither implies the other             |
/// | `std_rcu::rcu_retire`                 | reports lack of memory by its result, not by throwing
/// |
///
/// Stronger than the standard: `unlock` and `retire` never run deleters, so a deleter may take
/// locks that are held around them (spinlocks only: deleters run in softirq context and must not
/// block). Deleters run in the order in which one task retired. Reports of misuse are those of
/// rcupdate.hpp. Source: ISO C++ working draft, [saferecl.rcu].

#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include "interlock/rcupdate.hpp"
#include "interlock/result.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

namespace std_rcu {

/// A region of RCU protection. There is one domain; it guards every RCU pointer of the process.
class rcu_domain {
 public:
  rcu_domain(const rcu_domain&) = delete;
  rcu_domain& operator=(const rcu_domain&) = delete;

  /// Opens a region; nests. Context: any, NMI included. Never sleeps.
  void lock() noexcept { rcu_read_lock(); }
  /// The same; always true.
  /// Context: any, NMI included.
  [[nodiscard]] bool try_lock() noexcept {
    rcu_read_lock();
    return true;
  }
  /// Closes it, on the task that opened it. Never runs deleters.
  /// Context: any, NMI included; as the matching lock.
  void unlock() noexcept { rcu_read_unlock(); }

 private:
  constexpr rcu_domain() noexcept = default;
  friend rcu_domain& rcu_default_domain() noexcept;
};

/// Context: any.
[[nodiscard]] inline rcu_domain& rcu_default_domain() noexcept {
  static constinit rcu_domain domain;
  return domain;
}

/// Context: task, may sleep, outside readers.
inline void rcu_synchronize(rcu_domain& /*domain*/ = rcu_default_domain(),
                            location where = location::current()) noexcept {
  synchronize_rcu(where);
}

/// Waits until all deleters that were scheduled before it have run. Context: task, may sleep; as
/// rcu_barrier of rcupdate.hpp.
inline void rcu_barrier(rcu_domain& /*domain*/ = rcu_default_domain(),
                        location where = location::current()) noexcept {
  interlock::INTERLOCK_PLATFORM::rcu_barrier(where);
}

namespace detail {

/// Its only member is the head, so a pointer to the head is one to it.
struct retired_head {
  rcu_head head{};
};

}  // namespace detail

/// The base of a type that retires itself: `struct node : rcu_obj_base<node> { ... }`.
/// Requires: one such base, public and not virtual; D is default constructible and move assignable.
template <class T, class D = std::default_delete<T>>
class rcu_obj_base : private detail::retired_head {
 public:
  /// Schedules `d(static_cast<T*>(this))` after a grace period. Context: any, NMI excepted; as
  /// call_rcu; retiring twice is reported where rcupdate.hpp reports a head that is queued twice.
  void retire(D d = D(), rcu_domain& /*domain*/ = rcu_default_domain()) noexcept {
    deleter_ = std::move(d);
    call_rcu(this->head, [](rcu_head* queued) {
      auto* const base =
          static_cast<rcu_obj_base*>(reinterpret_cast<detail::retired_head*>(queued));
      D deleter = std::move(base->deleter_);
      deleter(static_cast<T*>(base));
    });
  }

 protected:
  rcu_obj_base() = default;
  rcu_obj_base(const rcu_obj_base&) = default;
  rcu_obj_base(rcu_obj_base&&) = default;
  rcu_obj_base& operator=(const rcu_obj_base&) = default;
  rcu_obj_base& operator=(rcu_obj_base&&) = default;
  ~rcu_obj_base() = default;

 private:
  [[no_unique_address]] D deleter_;
};

/// Schedules `d(p)` after a grace period, for types without the base. Allocates a node.
/// Errors: not_enough_memory; then nothing is scheduled. Context: task (it allocates).
template <class T, class D = std::default_delete<T>>
[[nodiscard]] result<void> rcu_retire(T* p, D d = D(),
                                      rcu_domain& domain = rcu_default_domain()) noexcept {
  struct node : rcu_obj_base<node> {
    node(T* object, D&& deleter) noexcept : object_{object}, deleter_{std::move(deleter)} {}
    ~node() { deleter_(object_); }
    T* object_;
    [[no_unique_address]] D deleter_;
  };
  auto* const scheduled = new (std::nothrow) node{p, std::move(d)};
  if (scheduled == nullptr) return error::not_enough_memory;
  scheduled->retire({}, domain);
  return {};
}

}  // namespace std_rcu

}  // namespace interlock::inline INTERLOCK_PLATFORM
