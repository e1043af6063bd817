// SPDX-License-Identifier: Apache-2.0

/// Simulated devices: a register to sleep on, and what the handle shares with the function that plays.

#include "interlock/device/simulated_device.hpp"

#include <cstdlib>
#include <new>

#include "interlock/guard.hpp"
#include "interlock/might_sleep.hpp"
#include "interlock_platform/lifecycle.hpp"
#include "interlock_platform/park.hpp"
#include "interlock_platform/thread.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

void doorbell_register::write(std::uint32_t value) noexcept {
  value_.store_release(value);  // [B1] pairs with [B2]
  platform::unpark(value_, platform::unpark_all);
}

void doorbell_register::write_relaxed(std::uint32_t value) noexcept {
  value_.store_relaxed(value);
  platform::unpark(value_, platform::unpark_all);
}

std::uint32_t doorbell_register::wait(std::uint32_t seen) const noexcept {
  while (true) {
    const std::uint32_t value = value_.load_acquire();  // [B2] pairs with [B1]
    if (value != seen || value == gone) return value;
    platform::device_wait(value_, seen);
  }
}

struct simulated_device::control {
  void (*run)(doorbell_register&, void*);
  void* cookie;
  void (*destroy)(void*);
  doorbell_register bell{};
  platform::thread_handle thread{};
  std::uint32_t generation = platform::fork_generation();
};

/// What the C edge needs of the class.
struct simulated_device_access {
  using control = simulated_device::control;

  static simulated_device make(control* c) noexcept {
    simulated_device made;
    made.control_ = c;
    return made;
  }

  static void play(void* argument) noexcept {
    control& c = *static_cast<control*>(argument);
    const guard atomic_section{no_preempt};  // what may sleep is reported
    c.run(c.bell, c.cookie);
  }
};

simulated_device& simulated_device::operator=(simulated_device&& other) noexcept {
  if (this != &other) {
    if (control_ != nullptr) remove();
    control_ = std::exchange(other.control_, nullptr);
  }
  return *this;
}

simulated_device::~simulated_device() {
  if (control_ != nullptr) remove();
}

doorbell_register& simulated_device::doorbell() const noexcept { return control_->bell; }

void simulated_device::remove() noexcept {
  might_sleep();
  if (control_ == nullptr) return;
  control* const c = std::exchange(control_, nullptr);
  if (c->generation == platform::fork_generation()) {
    c->bell.write(doorbell_register::gone);
    platform::join(c->thread);
  }
  if (c->destroy != nullptr) c->destroy(c->cookie);
  c->~control();
  std::free(c);
}

result<simulated_device> make_simulated_device_raw(const char* name,
                                                   void (*run)(doorbell_register&, void*),
                                                   void* cookie, void (*destroy)(void*)) noexcept {
  might_sleep();
  using control = simulated_device_access::control;
  void* const memory = std::malloc(sizeof(control));
  if (memory != nullptr) {
    auto* const c = new (memory) control{run, cookie, destroy};
    const result<platform::thread_handle> started =
        platform::spawn_device(simulated_device_access::play, c, name != nullptr ? name : "device");
    if (started) {
      c->thread = *started;
      return simulated_device_access::make(c);
    }
    c->~control();
    std::free(memory);
    if (destroy != nullptr) destroy(cookie);
    return started.error();
  }
  if (destroy != nullptr) destroy(cookie);
  return error::not_enough_memory;
}

}  // namespace interlock::inline INTERLOCK_PLATFORM
