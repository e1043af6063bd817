// SPDX-License-Identifier: Apache-2.0

/// A driver of a small ring device: its interrupt handler, its threaded half, and the completion
/// that a submitter sleeps on. See ring_driver.md.

#include <cstdio>

#include "interlock/completion.hpp"
#include "interlock/interrupt.hpp"
#include "interlock/kthread.hpp"
#include "interlock/list.hpp"
#include "interlock/spinlock.hpp"
#include "interlock/wait_queue.hpp"

namespace {

using namespace interlock;

constexpr std::uint32_t ring_size = 8;

/// What driver and device share. Indices only grow; `head` is the driver's, `tail` the device's.
struct ring {
  struct slot {
    std::uint32_t argument;
    std::uint32_t answer;
  };
  slot slots[ring_size];
  atomic<std::uint32_t> head{0};
  atomic<std::uint32_t> tail{0};
};

/// The device, played by a thread: it squares, writes the answer, and raises its line.
class device {
 public:
  device(ring& r, irq_line& line) noexcept : ring_{r}, line_{line} {}

  result<void> start() noexcept {
    result<kthread> started = kthread_run("device", [this] { work(); });
    if (!started) return started.error();
    thread_ = std::move(started.value());
    return {};
  }
  void stop() noexcept { thread_ = kthread{}; }

  /// The doorbell register.
  void ring_doorbell() noexcept { wake_up(doorbell_); }

 private:
  void work() noexcept {
    std::uint32_t tail = 0;
    while (true) {
      wait_event(doorbell_,
                 [&] { return ring_.head.load_acquire() != tail || kthread_should_stop(); });
      if (kthread_should_stop()) return;
      ring::slot& slot = ring_.slots[tail % ring_size];
      slot.answer = slot.argument * slot.argument;
      ring_.tail.store_release(++tail);
      raise_irq(line_);  // a bit; and a signal, if the CPU must be halted
    }
  }

  ring& ring_;
  irq_line& line_;
  wait_queue doorbell_;
  kthread thread_;
};

struct request {
  explicit request(std::uint32_t a) noexcept : argument{a} {}

  std::uint32_t argument;
  std::uint32_t answer = 0;
  completion done;
  list_head node{};
};

class driver {
 public:
  explicit driver(ref_ptr<irq_line> line) noexcept
      : line_{std::move(line)}, device_{ring_, *line_} {
    list_init(finished_);
  }
  ~driver() {
    device_.stop();
    action_ = irq_action{};  // waits until neither the handler nor its half runs
  }
  driver(const driver&) = delete;
  driver& operator=(const driver&) = delete;

  result<void> start() noexcept {
    result<irq_action> action = request_threaded_irq(
        *line_, [this] { return on_interrupt(); }, [this] { finish(); }, {.name = "ring"});
    if (!action) return action.error();
    action_ = std::move(action.value());
    return device_.start();
  }

  /// Context: task. False if the ring is full.
  bool submit(request& r) noexcept {
    {
      const guard g{irqsave, lock_};  // the handler takes it too
      const std::uint32_t head = ring_.head.load_relaxed();
      if (head - reaped_ == ring_size) return false;
      pending_[head % ring_size] = &r;
      ring_.slots[head % ring_size].argument = r.argument;
      ring_.head.store_release(head + 1);
    }
    device_.ring_doorbell();
    return true;
  }

 private:
  /// Hardirq: only what cannot wait. Takes the answers off the ring, so that slots are free again.
  irqreturn on_interrupt() noexcept {
    const guard g{no_mask, lock_};  // interrupts are off already
    const std::uint32_t tail = ring_.tail.load_acquire();
    if (tail == reaped_) return irqreturn::none;
    for (; reaped_ != tail; ++reaped_) {
      request& r = *pending_[reaped_ % ring_size];
      r.answer = ring_.slots[reaped_ % ring_size].answer;
      list_add_tail(r.node, finished_);
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

  ref_ptr<irq_line> line_;
  ring ring_{};
  spinlock lock_;
  request* pending_[ring_size] = {};  ///< by slot; under lock_
  std::uint32_t reaped_ = 0;          ///< under lock_
  list_head finished_;                ///< under lock_
  device device_;
  irq_action action_;
};

}  // namespace

int main() {
  // Asynchronous: the handler halts this thread, wherever it is.
  result<ref_ptr<irq_line>> line = make_irq_line({.name = "ring", .kind = irq_kind::asynchronous});
  if (!line) {
    std::fprintf(stderr, "no line: %s\n", error_name(line.error()));
    return 1;
  }
  driver d{*line};
  if (const result<void> started = d.start(); !started) {
    std::fprintf(stderr, "no driver: %s\n", error_name(started.error()));
    return 1;
  }
  std::uint64_t sum = 0;
  constexpr std::uint32_t requests = 1000;
  for (std::uint32_t i = 1; i <= requests; ++i) {
    request r{i};
    while (!d.submit(r)) schedule();
    r.done.wait();
    sum += r.answer;
  }
  const irq_statistics seen = irq_get_statistics(**line);
  std::printf("sum of squares to %u: %llu\n", requests, static_cast<unsigned long long>(sum));
  std::printf("raised %llu, handled %llu, threaded half woken %llu times\n",
              static_cast<unsigned long long>(seen.raised),
              static_cast<unsigned long long>(seen.handled),
              static_cast<unsigned long long>(seen.thread_wakes));
  return sum == 333'833'500 ? 0 : 1;
}
