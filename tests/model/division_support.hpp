// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Explorations that several processes divide, and the states in which their executions end.

#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <set>
#include <string>

#include "interlock_platform/machine.h"

namespace division_support {

/// Texts that all processes add to.
class shared_texts {
 public:
  shared_texts()
      : memory_{static_cast<memory*>(mmap(nullptr, sizeof(memory), PROT_READ | PROT_WRITE,
                                          MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0))} {
    if (memory_ == MAP_FAILED) throw std::bad_alloc{};
  }
  ~shared_texts() { munmap(memory_, sizeof(memory)); }
  shared_texts(const shared_texts&) = delete;
  shared_texts& operator=(const shared_texts&) = delete;

  void add(const std::string& text) noexcept {
    const std::size_t at = memory_->count.fetch_add(1);
    if (at < most && text.size() < sizeof(line)) text.copy(memory_->lines[at].text, text.size());
  }
  [[nodiscard]] std::size_t count() const noexcept { return memory_->count.load(); }
  /// Those that are different. Context: the others have ended.
  [[nodiscard]] std::set<std::string> all() const {
    std::set<std::string> found;
    for (std::size_t i = 0; i < count() && i < most; ++i) found.insert(memory_->lines[i].text);
    return found;
  }
  [[nodiscard]] bool has_all() const noexcept { return count() <= most; }

 private:
  static constexpr std::size_t most = 100'000;
  struct line {
    char text[120];
  };
  struct memory {
    std::atomic<std::size_t> count;
    line lines[most];
  };
  memory* memory_;
};

inline std::string this_process() { return std::to_string(::getpid()); }

}  // namespace division_support
