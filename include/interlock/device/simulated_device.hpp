// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Simulated devices: hardware played by a function, for drivers that shall run without theirs, in
/// examples, in tests, and on the model platform from the same source.
///
///   auto device = make_simulated_device("dma", [&](doorbell_register& bell) {
///     for (std::uint32_t seen = 0; (seen = bell.wait(seen)) != doorbell_register::gone;) {
///       ... read and write the memory that is shared with the driver ...
///       raise_irq(*line);
///     }
///   });
///   device->doorbell().write(1);
///
/// The function belongs to no CPU: no mask and no disabled preemption of the driver's holds it up.
/// Natively a thread runs it. On the model platform it is a flow of its own, whose steps may come
/// between any two of the driver's.
///
/// The function has memory, `doorbell_register` and `raise_irq`. It MUST NOT lock, nor call what may
/// sleep: that is reported (on the model platform an execution fails for a lock, too). What it shares
/// with the driver both access as two CPUs would: `atomic`, or plain memory that the register, an
/// atomic, or the raised line orders.
///
/// Invariants: I1. The register is all ones from `remove` on, and before only if the driver wrote that.
///             I2. The control block is freed by the handle's side, after the function has returned;
///                 in the child of a fork it never ran.
/// Ordering:   [B1] a write releases, [B2] a read acquires; both meet in the register alone, so a
///             write_relaxed orders nothing, whatever the device was doing.

#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include "interlock/atomic.hpp"
#include "interlock/result.hpp"
#include "interlock_platform/platform.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

/// A register of the device, 32 bits wide, that the driver writes to give it work.
class doorbell_register {
 public:
  /// What a device reads that was removed. Drivers do not write it.
  static constexpr std::uint32_t gone = 0xffff'ffffu;

  constexpr doorbell_register() noexcept = default;
  doorbell_register(const doorbell_register&) = delete;
  doorbell_register& operator=(const doorbell_register&) = delete;

  // --- the driver's side ---

  /// Writes it, and wakes the device; one system call natively. The kernel's `writel`.
  /// Context: any. Order: [B1] release: the device sees what was written before.
  INTERLOCK_API void write(std::uint32_t value) noexcept;
  /// The same without order, the kernel's `writel_relaxed`: where nothing else is shared.
  /// Context: any.
  INTERLOCK_API void write_relaxed(std::uint32_t value) noexcept;

  // --- the device's side ---

  /// The value as it stands. Context: any. Order: [B2] acquire.
  [[nodiscard]] std::uint32_t read() const noexcept { return value_.load_acquire(); }
  /// Sleeps until the value differs from `seen`, and returns it; `gone` once the device is removed.
  /// Several writes may be seen as one. Context: task, in the device's function alone, which may wait
  /// here and nowhere else. Order: [B2] acquire.
  [[nodiscard]] INTERLOCK_API std::uint32_t wait(std::uint32_t seen) const noexcept;

 private:
  atomic<std::uint32_t> value_{0};
};

/// A device that runs. Movable; removed when destroyed. In the child of a fork the device is not
/// there: nothing answers, and removing it only frees.
class INTERLOCK_API simulated_device {
 public:
  simulated_device() noexcept = default;
  simulated_device(simulated_device&& other) noexcept
      : control_{std::exchange(other.control_, nullptr)} {}
  /// Removes the present device first. Context: task, may sleep.
  simulated_device& operator=(simulated_device&& other) noexcept;
  /// Removes it. Context: task, may sleep if it is there.
  ~simulated_device();

  /// Pre: it is there. Lifetime: until the device is removed; only its function sees `gone`.
  /// Context: any.
  [[nodiscard]] doorbell_register& doorbell() const noexcept;

  /// Takes the device away, as if it were unplugged: the register reads `gone`, and the function is
  /// expected to return. Waits for that, so that it touches nothing any more. Nobody uses the
  /// register meanwhile or later. Context: task, may sleep; not from the device's function.
  void remove() noexcept;

 private:
  friend struct simulated_device_access;
  struct control;
  control* control_ = nullptr;
};

/// The C edge: `run(bell, cookie)` plays the device; `destroy(cookie)`, if not null, runs after the last
/// use, also if this fails.
/// Errors: not_enough_memory, resource_unavailable_try_again (no thread). Context: task, may sleep.
[[nodiscard]] INTERLOCK_API result<simulated_device> make_simulated_device_raw(
    const char* name, void (*run)(doorbell_register&, void*), void* cookie,
    void (*destroy)(void*)) noexcept;

/// Powers a device on that `function(doorbell_register&)` plays. `name` is copied, 15 bytes are kept.
/// The function MUST NOT throw, and returns when its register reads `gone`. It is copied or moved in,
/// which must not throw either, and destroyed in `remove`; what it refers to outlives that. Null name:
/// "device".
/// Errors: as the C edge. Context: task, may sleep.
template <class F>
[[nodiscard]] result<simulated_device> make_simulated_device(const char* name,
                                                             F&& function) noexcept {
  using callable = std::decay_t<F>;
  static_assert(std::is_invocable_v<callable&, doorbell_register&>,
                "a device runs function(doorbell_register&)");
  auto* const copy = new (std::nothrow) callable(std::forward<F>(function));
  if (copy == nullptr) return error::not_enough_memory;
  return make_simulated_device_raw(
      name,
      [](doorbell_register& bell, void* cookie) noexcept {
        (*static_cast<callable*>(cookie))(bell);
      },
      copy, [](void* cookie) { delete static_cast<callable*>(cookie); });
}

}  // namespace interlock::inline INTERLOCK_PLATFORM
