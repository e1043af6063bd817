// SPDX-License-Identifier: Apache-2.0

/// A fence as an event descriptor: its callback makes the descriptor readable.
///
/// Invariants: I1. The callback is off the fence before the descriptor is closed: remove_callback
///                 waits, by the fence's lock, for one that runs. So no foreign file that has got
///                 the same number is ever signalled.
///             I2. Only the process that opened it writes to it.
/// Contexts:   task; the callback runs in the signaller's, one system call.

#include "interlock/fence_fd.hpp"

#include <cstdlib>
#include <new>

#include "interlock_platform/lifecycle.hpp"
#include "interlock_platform/poller.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {

struct fence_fd::control {
  ref_ptr<dma_fence> fence;
  int fd;
  dma_fence_cb cb;
  std::uint32_t generation = platform::fork_generation();

  static void signalled(dma_fence*, dma_fence_cb* cb) noexcept {
    const control& self = *INTERLOCK_CONTAINER_OF(cb, control, cb);
    // I2. The file is the parent's too: what the child does with its copy is none of its business.
    if (self.generation == platform::fork_generation()) platform::signal_event_fd(self.fd);
  }

  static void destroy(control* self) noexcept {
    if (self == nullptr) return;
    self->fence->remove_callback(self->cb);
    platform::close_fd(self->fd);
    self->~control();
    std::free(self);
  }
};

fence_fd& fence_fd::operator=(fence_fd&& other) noexcept {
  if (this != &other) control::destroy(std::exchange(control_, std::exchange(other.control_, {})));
  return *this;
}

fence_fd::~fence_fd() { control::destroy(control_); }

result<fence_fd> fence_fd::open(dma_fence& fence) noexcept {
  dma_fence_might_allocate();
  result<int> fd = platform::open_event_fd();
  if (!fd) return fd.error();
  void* const memory = std::malloc(sizeof(control));
  if (memory == nullptr) {
    platform::close_fd(*fd);
    return error::not_enough_memory;
  }
  fence_fd opened;
  opened.control_ = new (memory) control{ref_ptr<dma_fence>::share(fence), *fd, {}};
  if (!fence.add_callback(opened.control_->cb, control::signalled)) platform::signal_event_fd(*fd);
  return opened;
}

int fence_fd::get() const noexcept { return control_ != nullptr ? control_->fd : -1; }

dma_fence& fence_fd::fence() const noexcept {
  INTERLOCK_BUG_ON(control_ == nullptr);
  return *control_->fence;
}

}  // namespace interlock::inline INTERLOCK_PLATFORM
