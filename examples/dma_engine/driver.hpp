// SPDX-License-Identifier: Apache-2.0
#pragma once

/// The driver of a DMA engine: channels that come and go while others look them up, a ring and an
/// interrupt for each, and a fence for each copy. See ../dma_engine.md.

#include "dma_engine/hardware.hpp"

namespace dma {

/// "This block is copied."
struct copy_fence : fence_class<copy_fence> {
  using fence_class::fence_class;
  const char* driver_name_of() const noexcept { return "dma_engine"; }
  const char* timeline_name_of() const noexcept { return "channel"; }
};

/// Counted. The table of the engine holds a reference, and so does who uses the channel.
///
/// Invariants: C1. Of the ring's numbers, those from `done_` to `head_` are the engine's, those from `tail_` to
///                 `done_` are signalled, and wait for the threaded half; `fences_` holds both.
///             C2. Once `closed_` is set nobody writes the doorbell.
///             C3. Whoever finds a channel in the table may look at its count until its reader ends: so it
///                 is freed a grace period after its last reference was dropped.
class channel {
 public:
  /// Errors: not_enough_memory, those of make_irq_line and make_simulated_device.
  /// Context: task, may sleep.
  static result<ref_ptr<channel>> open(std::uint32_t depth) noexcept;
  /// Takes the hardware away. What it has not finished fails with no_such_device.
  /// Context: task, may sleep. Once, before the last reference is dropped.
  void close() noexcept;

  /// Queues a copy, and waits while the ring is full. The memory is the engine's until the fence is signalled.
  /// Errors: no_such_device (closed), not_enough_memory. Context: task, may sleep.
  result<ref_ptr<dma_fence>> submit(const descriptor& copy) noexcept;

  /// A reference, or null if the last one was dropped. Context: any; inside a reader.
  static ref_ptr<channel> get_rcu(channel* c) noexcept;
  friend void intrusive_get(channel& c) noexcept { c.references_.get(); }
  friend void intrusive_put(channel& c) noexcept;

  rcu_head rcu;

 private:
  result<void> start(std::uint32_t depth) noexcept;
  irqreturn on_interrupt() noexcept;
  void after_interrupt() noexcept;
  bool signal_finished() noexcept INTERLOCK_REQUIRES(lock_);
  void drop_signalled() noexcept;
  bool has_space() noexcept;

  refcount references_;
  mutex submitters_;  ///< one at a time: fences have the order of descriptors
  std::uint64_t last_seqno_ INTERLOCK_GUARDED_BY(submitters_) = 0;
  const std::uint64_t context_ = dma_fence_context_alloc();

  spinlock lock_;  ///< the handler takes it too
  ring shared_;
  ref_ptr<copy_fence> fences_[ring::most] INTERLOCK_GUARDED_BY(lock_);
  std::uint32_t head_ INTERLOCK_GUARDED_BY(lock_) = 0;
  std::uint32_t done_ INTERLOCK_GUARDED_BY(lock_) = 0;
  std::uint32_t tail_ INTERLOCK_GUARDED_BY(lock_) = 0;
  bool closed_ INTERLOCK_GUARDED_BY(lock_) = false;
  wait_queue space_;

  ref_ptr<irq_line> line_;
  irq_action action_;
  simulated_device device_;
};

/// Pre, of every `number`: below `channels`; of `depth`: a power of two, `ring::most` at most.
class engine {
 public:
  static constexpr unsigned channels = 2;

  ~engine();
  /// Errors: device_or_resource_busy (it is there), those of channel::open. Context: task, may sleep.
  result<void> add_channel(unsigned number, std::uint32_t depth = ring::most) noexcept;
  /// False if it is not there. Context: task, may sleep.
  bool remove_channel(unsigned number) noexcept;
  /// Errors: no_such_device (no such channel, or it was removed meanwhile), not_enough_memory.
  /// Context: task, may sleep.
  result<ref_ptr<dma_fence>> copy(unsigned number, const descriptor& copy) noexcept;

 private:
  mutex lock_;                            ///< who changes the table; readers know nothing of it
  rcu_pointer<channel> table_[channels];  ///< holds a reference to each
};

}  // namespace dma
