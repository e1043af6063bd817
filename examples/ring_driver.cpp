// SPDX-License-Identifier: Apache-2.0

/// A driver: its handler, its threaded half, and who sleeps on a request. See ring_driver.md.

#include <cstdio>

#include "interlock/interlock.hpp"

namespace {

using namespace interlock;

constexpr std::uint32_t ring_size = 8;

/// What driver and device share. Indices only grow; `head` is the driver's, `tail` the device's.
struct ring {
  std::uint32_t slots[ring_size];  ///< an argument; then the answer
  atomic<std::uint32_t> head{0};
  atomic<std::uint32_t> tail{0};
  wait_queue doorbell;
};

/// The device, played by a thread: it squares, writes the answer, and raises its line.
void play_device(ring& r, irq_line& line) noexcept {
  for (std::uint32_t tail = 0;;) {
    wait_event(r.doorbell, [&] { return r.head.load_acquire() != tail || kthread_should_stop(); });
    if (kthread_should_stop()) return;
    r.slots[tail % ring_size] *= r.slots[tail % ring_size];
    r.tail.store_release(++tail);
    raise_irq(line);  // a bit; and a signal, if the CPU must be halted
  }
}

struct request {
  std::uint32_t argument;
  std::uint32_t answer = 0;
  completion done{};
  list_head node{};
};

class driver {
 public:
  explicit driver(irq_line& line) noexcept {
    action_ = request_threaded_irq(
                  line, [this] { return on_interrupt(); }, [this] { finish(); }, {.name = "ring"})
                  .value();
    device_ = kthread_run("device", [this, &line] { play_device(ring_, line); }).value();
  }
  ~driver() {
    device_ = kthread{};
    action_ = irq_action{};  // waits until neither the handler nor its half runs
  }

  /// Context: task. False if the ring is full.
  bool submit(request& r) noexcept {
    const guard g{irqsave, lock_};  // the handler takes it too
    const std::uint32_t head = ring_.head.load_relaxed();
    if (head - reaped_ == ring_size) return false;
    pending_[head % ring_size] = &r;
    ring_.slots[head % ring_size] = r.argument;
    ring_.head.store_release(head + 1);
    wake_up(ring_.doorbell);
    return true;
  }

 private:
  /// Hardirq: only what cannot wait. Takes the answers off the ring, so that slots are free again.
  irqreturn on_interrupt() noexcept {
    const guard g{no_mask, lock_};  // interrupts are off already
    const std::uint32_t tail = ring_.tail.load_acquire();
    if (tail == reaped_) return irqreturn::none;
    for (; reaped_ != tail; ++reaped_) {
      const std::uint32_t at = reaped_ % ring_size;
      pending_[at]->answer = ring_.slots[at];
      list_add_tail(pending_[at]->node, finished_);
    }
    return irqreturn::wake_thread;
  }

  /// Task: here it might sleep, allocate, copy much. It tells those who wait.
  void finish() noexcept {
    list_head taken;
    {
      const guard g{irqsave, lock_};
      list_replace_init(finished_, taken);
    }
    while (!list_empty(taken)) {
      request& r = *INTERLOCK_CONTAINER_OF(taken.next, request, node);
      list_del_init(r.node);
      r.done.complete();  // `r` may be gone now
    }
  }

  ring ring_{};
  spinlock lock_;
  request* pending_[ring_size] = {};            ///< by slot; under lock_
  std::uint32_t reaped_ = 0;                    ///< under lock_
  list_head finished_{&finished_, &finished_};  ///< under lock_
  irq_action action_;
  kthread device_;
};

}  // namespace

int main() {
  // Asynchronous: the handler halts this thread, wherever it is.
  const auto line = make_irq_line({.name = "ring", .kind = irq_kind::asynchronous}).value();
  driver d{*line};
  unsigned long sum = 0;
  for (std::uint32_t i = 1; i <= 1000; ++i) {
    request r{i};
    while (!d.submit(r)) schedule();
    r.done.wait();
    sum += r.answer;
  }
  const irq_statistics seen = irq_get_statistics(*line);
  std::printf("sum of squares to 1000: %lu; raised %lu times, handled %lu times\n", sum,
              static_cast<unsigned long>(seen.raised), static_cast<unsigned long>(seen.handled));
  return sum == 333'833'500 ? 0 : 1;
}
