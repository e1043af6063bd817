// SPDX-License-Identifier: Apache-2.0
#pragma once

/// SIGINT, SIGTERM and SIGHUP: a thread takes them, has the running work cancelled, and ends the
/// process itself if that takes too long. SIGPIPE and SIGXFSZ are ignored: they come
/// as errors of the write.
///
/// Signals that were ignored when the program began stay so (nohup, background jobs).

#include <signal.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <thread>

namespace interlock::cli {

class termination {
 public:
  /// Blocks the signals in this thread and those that it starts: make it before any other thread.
  termination();
  termination(const termination&) = delete;
  termination& operator=(const termination&) = delete;
  ~termination();

  /// The signal that was taken, or 0.
  [[nodiscard]] int caught() const noexcept { return caught_.load(); }
  /// The mask of before, for processes that are started.
  [[nodiscard]] const sigset_t& inherited_mask() const noexcept { return inherited_; }

  /// What to do at a signal, as long as it lives. One at a time.
  class [[nodiscard]] action {
   public:
    /// `abandon` is called if the process is ended without unwinding.
    action(termination& owner, std::function<void()> abandon);
    /// What makes the work end; null: nothing. Called at once if a signal was taken already. On
    /// return the one before does not run.
    void set_cancel(std::function<void()> cancel);
    action(const action&) = delete;
    action& operator=(const action&) = delete;
    ~action();

   private:
    termination& owner_;
  };

 private:
  void serve();
  void cancel_now();
  [[noreturn]] void end_process(int number);

  sigset_t watched_{};
  sigset_t inherited_{};
  int signal_fd_ = -1;
  int stop_fd_ = -1;
  std::atomic<int> caught_{0};
  std::mutex lock_;
  std::function<void()> cancel_;
  std::function<void()> abandon_;
  std::thread thread_;
};

}  // namespace interlock::cli
