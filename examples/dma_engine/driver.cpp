// SPDX-License-Identifier: Apache-2.0

#include "dma_engine/driver.hpp"

#include <new>

namespace dma {

// --- a channel's life ---

result<ref_ptr<channel>> channel::open(std::uint32_t depth) noexcept {
  auto* const c = new (std::nothrow) channel;
  if (c == nullptr) return error::not_enough_memory;
  auto opened = ref_ptr<channel>::adopt(c);
  if (const result<void> started = c->start(depth); !started) {
    c->close();
    return started.error();
  }
  return opened;
}

result<void> channel::start(std::uint32_t depth) noexcept {
  shared_.depth = depth;
  auto line = make_irq_line({.name = "dma", .kind = irq_kind::asynchronous});
  if (!line) return line.error();
  line_ = std::move(*line);
  auto action = request_threaded_irq(
      *line_, [this] { return on_interrupt(); }, [this] { after_interrupt(); }, {.name = "dma"});
  if (!action) return action.error();
  action_ = std::move(*action);
  auto device = make_simulated_device(
      "dma", [this](doorbell_register& bell) { play_channel(shared_, *line_, bell); });
  if (!device) return device.error();
  device_ = std::move(*device);
  return {};
}

void channel::close() noexcept {
  {
    const guard g{irqsave, lock_};
    closed_ = true;
  }
  wake_up_all(space_);
  device_ = {};  // it touches nothing any more, and raises nothing
  action_ = {};  // neither the handler nor its half runs any more
  {
    const guard g{irqsave, lock_};
    (void)signal_finished();  // what no interrupt has told of
    for (; done_ != head_; done_ = ring::next(done_)) {
      copy_fence& lost = *fences_[done_ % shared_.depth];
      lost.set_error(error::no_such_device);
      lost.signal();
    }
  }
  drop_signalled();
}

ref_ptr<channel> channel::get_rcu(channel* c) noexcept {
  return ref_ptr<channel>::adopt(c != nullptr && c->references_.get_unless_zero() ? c : nullptr);
}

void intrusive_put(channel& c) noexcept {
  if (c.references_.put()) delete_rcu<&channel::rcu>(&c);  // C3
}

// --- a copy's way ---

bool channel::has_space() noexcept {
  const guard g{irqsave, lock_};
  return closed_ || (head_ - tail_) % ring::numbers != shared_.depth;
}

result<ref_ptr<dma_fence>> channel::submit(const descriptor& copy) noexcept {
  const guard one_at_a_time{submitters_};
  auto made = make_fence<copy_fence>(context_, last_seqno_ + 1);
  if (!made) return made.error();
  wait_event(space_, [this] { return has_space(); });
  const guard g{irqsave, lock_};
  if (closed_) return error::no_such_device;
  ++last_seqno_;
  fences_[head_ % shared_.depth] = *made;
  shared_.descriptors[head_ % shared_.depth] = copy;
  head_ = ring::next(head_);
  device_.doorbell().write(head_);
  return ref_ptr<dma_fence>{std::move(*made)};
}

/// Signals what the engine has counted, in order. True if there was anything.
bool channel::signal_finished() noexcept {
  const std::uint32_t finished = shared_.finished.load_acquire();
  const bool any = finished != done_;
  for (; done_ != finished; done_ = ring::next(done_)) fences_[done_ % shared_.depth]->signal();
  return any;
}

/// Hardirq: only what cannot wait.
irqreturn channel::on_interrupt() noexcept {
  const guard g{no_mask, lock_};  // interrupts are off already
  return signal_finished() ? irqreturn::wake_thread : irqreturn::none;
}

/// Task: what takes longer, or might sleep.
void channel::after_interrupt() noexcept {
  drop_signalled();
  wake_up(space_);
}

/// Makes space. That the last reference of a fence is dropped may take a while: RCU frees it.
void channel::drop_signalled() noexcept {
  while (true) {
    ref_ptr<copy_fence> dropped;  // after the lock
    const guard g{irqsave, lock_};
    if (tail_ == done_) return;
    dropped = std::move(fences_[tail_ % shared_.depth]);
    tail_ = ring::next(tail_);
  }
}

// --- the engine: its table of channels ---

engine::~engine() {
  for (unsigned i = 0; i < channels; ++i) (void)remove_channel(i);
}

result<void> engine::add_channel(unsigned number, std::uint32_t depth) noexcept {
  const guard g{lock_};
  if (rcu_access_pointer(table_[number]) != nullptr) return error::device_or_resource_busy;
  auto opened = channel::open(depth);
  if (!opened) return opened.error();
  rcu_assign_pointer(table_[number], opened->release());  // complete before it can be found
  return {};
}

bool engine::remove_channel(unsigned number) noexcept {
  const guard g{lock_};
  auto removed = ref_ptr<channel>::adopt(rcu_exchange_pointer(table_[number], nullptr));
  if (!removed) return false;
  removed->close();
  return true;  // the table's reference is dropped; others may go on a while with a closed channel
}

result<ref_ptr<dma_fence>> engine::copy(unsigned number, const descriptor& copy) noexcept {
  ref_ptr<channel> found;
  {
    const guard reader{rcu};
    found = channel::get_rcu(rcu_dereference(table_[number]));
  }
  if (!found) return error::no_such_device;
  return found->submit(copy);
}

}  // namespace dma
