// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Growing storage that never moves and never calls malloc: the machine runs inside the program's own allocations, and a call
/// of malloc there would be one of the program's.

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>

namespace interlock::machine {

/// Address space for `capacity` objects, backed by memory as it is used. T is trivial.
template <class T>
class pool {
 public:
  explicit pool(std::size_t capacity) noexcept : capacity_{capacity} {
    void* const memory = mmap(nullptr, capacity * sizeof(T), PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) std::abort();
    data_ = static_cast<T*>(memory);
  }
  pool(const pool&) = delete;
  pool& operator=(const pool&) = delete;

  T& operator[](std::size_t i) noexcept { return data_[i]; }
  const T& operator[](std::size_t i) const noexcept { return data_[i]; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool full() const noexcept { return size_ == capacity_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  T& back() noexcept { return data_[size_ - 1]; }
  T* data() noexcept { return data_; }
  [[nodiscard]] const T* data() const noexcept { return data_; }
  T* begin() noexcept { return data_; }
  T* end() noexcept { return data_ + size_; }

  /// The caller has seen that it is not full. Contents are what was there before.
  T& grow() noexcept { return data_[size_++]; }
  void push(const T& value) noexcept { data_[size_++] = value; }
  /// `count` objects side by side.
  T* take(std::size_t count) noexcept {
    T* const first = data_ + size_;
    size_ += count;
    return first;
  }
  [[nodiscard]] bool has_room(std::size_t count) const noexcept {
    return capacity_ - size_ >= count;
  }
  void resize_down(std::size_t size) noexcept { size_ = size; }
  void clear() noexcept { size_ = 0; }

 private:
  T* data_;
  std::size_t size_ = 0;
  std::size_t capacity_;
};

}  // namespace interlock::machine
