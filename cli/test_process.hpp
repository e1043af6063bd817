// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Processes of a test binary, several at a time. Each is waited for by a thread, so that one may wait for the first that ends.

#include <sys/types.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <list>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "failure.hpp"
#include "termination.hpp"

namespace interlock::cli {

/// A folder for temporary files; it goes with all that is in it.
class scratch_folder {
 public:
  scratch_folder();
  ~scratch_folder() { remove(); }
  scratch_folder(const scratch_folder&) = delete;
  scratch_folder& operator=(const scratch_folder&) = delete;
  /// Empty: it could not be made.
  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  void remove() noexcept;

 private:
  std::string path_;
};

struct test_command {
  std::vector<std::string> words;        ///< the first is a path
  std::vector<std::string> environment;  ///< all of it
  std::string output;                    ///< the file of its standard output; empty: ours
  bool quiet = false;                    ///< its standard error is nobody's
};

/// At a signal to us, and when it is destroyed, all of them are ended.
class test_processes {
 public:
  /// Lifetime: `signals` and `folder` outlive it. At a sudden end of ours the folder is removed.
  test_processes(termination& signals, scratch_folder& folder);
  ~test_processes();
  test_processes(const test_processes&) = delete;
  test_processes& operator=(const test_processes&) = delete;

  /// Returns 0, or an errno; ECANCELED: a signal was taken. `id` is told again when it has ended.
  [[nodiscard]] int start(const test_command& command, std::size_t id);
  void kill(std::size_t id);
  [[nodiscard]] std::size_t count() const;

  struct end {
    std::size_t id;
    int status;  ///< as of waitpid
  };
  /// The next one that has ended; false: none within that time.
  [[nodiscard]] bool wait(std::chrono::milliseconds at_most, end& ended);

 private:
  struct child {
    ::pid_t pid;
    std::size_t id;
    std::thread waits;
    bool ended = false;
  };
  void signal_all(int number);

  termination& signals_;
  mutable std::mutex lock_;
  std::condition_variable one_ended_;
  std::list<child> children_;
  bool cancelled_ = false;
  termination::action at_signal_;
};

}  // namespace interlock::cli
