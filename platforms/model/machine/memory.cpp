// SPDX-License-Identifier: Apache-2.0

/// The heap of executions.

#include "memory.hpp"

#include <link.h>

#include <algorithm>
#include <cstring>
#include <iterator>

// In the program's data if the program uses it; exploring sets it.
extern "C" char __libc_single_threaded;

namespace interlock::machine {
namespace {

constexpr std::size_t red_zone = 16;
constexpr int garbage = 0xa5;  ///< the same in each execution, and not zero

std::byte* reserve(std::size_t size) noexcept {
  void* const memory = mmap(nullptr, size, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) std::abort();
  return static_cast<std::byte*>(memory);
}

/// The text of an object: the program, if `name` is null.
struct text {
  explicit text(const char* object) noexcept : name{object} {
    dl_iterate_phdr(
        [](dl_phdr_info* info, std::size_t, void* result) {
          auto& t = *static_cast<text*>(result);
          if (t.name != nullptr && std::strstr(info->dlpi_name, t.name) == nullptr) return 0;
          for (int i = 0; i < info->dlpi_phnum; ++i) {
            const ElfW(Phdr)& header = info->dlpi_phdr[i];
            if (header.p_type != PT_LOAD || (header.p_flags & PF_X) == 0) continue;
            t.begin = info->dlpi_addr + header.p_vaddr;
            t.size = header.p_memsz;
          }
          return 1;  // the program comes first
        },
        this);
  }
  [[nodiscard]] bool holds(std::uintptr_t pc) const noexcept { return pc - begin < size; }
  const char* name;
  std::uintptr_t begin = 0;
  std::size_t size = 0;
};
const text program{nullptr};
const text libc{"/libc.so"};
const text linker{"/ld-linux"};  // what dlopen loads stays loaded

}  // namespace

bool in_program(std::uintptr_t pc) noexcept { return program.holds(pc); }
bool in_libc(std::uintptr_t pc) noexcept { return libc.holds(pc) || linker.holds(pc); }

heap::heap() noexcept : blocks_{std::size_t{1} << 20} {
  begin_ = reinterpret_cast<std::uintptr_t>(reserve(capacity));
  shadow_ = reinterpret_cast<std::uint8_t*>(reserve(capacity >> 3));
}

void* heap::allocate(std::size_t size, std::size_t alignment) noexcept {
  alignment = std::max<std::size_t>(alignment, 16);
  const std::size_t start = (used_ + red_zone + alignment - 1) & ~(alignment - 1);
  if (size > capacity || start + size + red_zone > capacity || blocks_.full()) return nullptr;
  used_ = start + size;
  auto* const memory = reinterpret_cast<void*>(begin_ + start);
  std::memset(memory, garbage, size);
  std::uint8_t* const marks = shadow_ + (start >> 3);
  std::memset(marks, 8, size >> 3);
  if ((size & 7) != 0) marks[size >> 3] = size & 7;
  blocks_.push({begin_ + start, size, 0, 0, 0, 0, false});
  ++live_;
  return memory;
}

heap::block* heap::find(std::uintptr_t address) noexcept {
  // Blocks are in order of address.
  block* const after =
      std::upper_bound(blocks_.begin(), blocks_.end(), address,
                       [](std::uintptr_t wanted, const block& b) { return wanted < b.address; });
  if (after == blocks_.begin()) return nullptr;
  block* const found = after - 1;
  return address < found->address + std::max<std::size_t>(found->size, 1) ? found : nullptr;
}

void heap::release(block& b) noexcept {
  --live_;
  std::memset(shadow_ + ((b.address - begin_) >> 3), freed, (b.size + 7) >> 3);
}

bool heap::accessible_slow(std::uintptr_t address, std::size_t size) const noexcept {
  while (size != 0) {
    const std::size_t here = std::min<std::size_t>(size, 8 - (address & 7));
    const std::uint8_t state = contains(address) ? shadow_[(address - begin_) >> 3] : outside;
    if (state == freed || (address & 7) + here > state) return false;
    address += here;
    size -= here;
  }
  return true;
}

void heap::reset() noexcept {
  std::memset(shadow_, outside, (used_ + 7) >> 3);
  used_ = live_ = 0;
  blocks_.clear();
}

// --- the program's data ---

void program_image::add(void* memory, std::size_t size) noexcept {
  if (own_count_ == most_regions) std::abort();
  own_[own_count_++] = {static_cast<std::byte*>(memory), size, reserve(size)};
}

void program_image::remember() noexcept {
  if (data_.copy == nullptr) {
    // The writable segment of the program itself, without what the linker protects after relocation.
    dl_iterate_phdr(
        [](dl_phdr_info* info, std::size_t, void* result) {
          auto& data = *static_cast<region*>(result);
          for (int i = 0; i < info->dlpi_phnum; ++i) {
            const ElfW(Phdr)& header = info->dlpi_phdr[i];
            if (header.p_type != PT_LOAD || (header.p_flags & PF_W) == 0) continue;
            data.memory = reinterpret_cast<std::byte*>(info->dlpi_addr + header.p_vaddr);
            data.size = header.p_memsz;
          }
          for (int i = 0; i < info->dlpi_phnum; ++i) {
            const ElfW(Phdr)& header = info->dlpi_phdr[i];
            if (header.p_type != PT_GNU_RELRO) continue;
            auto* const end =
                reinterpret_cast<std::byte*>(info->dlpi_addr + header.p_vaddr + header.p_memsz);
            if (end > data.memory && end < data.memory + data.size) {
              data.size -= static_cast<std::size_t>(end - data.memory);
              data.memory = end;
            }
          }
          return 1;  // the program comes first
        },
        &data_);
    if (data_.size != 0) data_.copy = reserve(data_.size);
  }
  std::memcpy(data_.copy, data_.memory, data_.size);
  const auto flag = reinterpret_cast<std::byte*>(&__libc_single_threaded) - data_.memory;
  if (flag >= 0 && static_cast<std::size_t>(flag) < data_.size) data_.copy[flag] = std::byte{0};
  for (unsigned i = 0; i < own_count_; ++i) std::memcpy(own_[i].copy, own_[i].memory, own_[i].size);
}

void program_image::put_back() noexcept {
  for (unsigned i = 0; i < own_count_; ++i) std::memcpy(own_[i].memory, own_[i].copy, own_[i].size);
}

const void* program_image::first_difference() const noexcept {
  if (std::memcmp(data_.memory, data_.copy, data_.size) == 0) return nullptr;
  return std::mismatch(data_.memory, data_.memory + data_.size, data_.copy).first;
}

}  // namespace interlock::machine
