// SPDX-License-Identifier: Apache-2.0

/// What compilers call in code built with -fsanitize=thread: g++ 12, clang 14 and clang 19.
///
/// For plain accesses the call comes before the access, which the program then makes by itself. Atomic accesses are made here.
/// Names and meanings: LLVM compiler-rt, tsan_interface.h and tsan_interface_atomic.h (the ABI).

#include <dlfcn.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <type_traits>

#include "interpose.hpp"
#include "machine.hpp"

namespace {

using namespace interlock::machine;

inline void plain(const volatile void* p, std::size_t size, bool writes, bool is_volatile,
                  std::uintptr_t pc) noexcept {
  if (!m.running) [[likely]]
    return;
  const auto address = reinterpret_cast<std::uintptr_t>(p);
  if (is_thread_storage(address)) return;
  m.plain_access(address, size, writes, is_volatile, pc);
}

/// An access of an execution to what flows may share.
inline bool explored(const volatile void* p) noexcept {
  return m.running && !is_thread_storage(reinterpret_cast<std::uintptr_t>(p));
}

}  // namespace

EXPORT void __tsan_init() {}

EXPORT void __tsan_func_entry(void* caller) {
  if (!m.running) return;
  flow& f = m.me().stack;
  if (f.depth < flow::max_calls) f.calls[f.depth] = reinterpret_cast<std::uintptr_t>(caller);
  ++f.depth;
}
EXPORT void __tsan_func_exit() {
  if (!m.running) return;
  // The caller's frame pointer: what lies below it, and above its stack pointer, is gone when it returns.
  const auto* const frame = static_cast<const std::uintptr_t*>(__builtin_frame_address(0));
  if (m.tso) m.leaves_frame(*frame, CALLER);
  process& p = m.me();
  if (p.old_count != 0) [[unlikely]]
    machine::forget_overwritten(p, *frame);
  if (p.stack.depth != 0) --p.stack.depth;
}

// -finstrument-functions: the library's functions, and no others. Behind __tsan_func_entry, before __tsan_func_exit.
EXPORT void __cyg_profile_func_enter(void* /*function*/, void* /*caller*/) {
  if (m.whole_primitives && m.running) m.me().enters_library();
}
EXPORT void __cyg_profile_func_exit(void* /*function*/, void* /*caller*/) {
  if (m.whole_primitives && m.running) m.me().leaves_library();
}

#define ACCESSES(size)                                                                     \
  EXPORT void __tsan_read##size(void* p) { plain(p, size, false, false, CALLER); }         \
  EXPORT void __tsan_write##size(void* p) { plain(p, size, true, false, CALLER); }         \
  EXPORT void __tsan_read##size##_pc(void* p, void* pc) {                                  \
    plain(p, size, false, false, reinterpret_cast<std::uintptr_t>(pc));                    \
  }                                                                                        \
  EXPORT void __tsan_write##size##_pc(void* p, void* pc) {                                 \
    plain(p, size, true, false, reinterpret_cast<std::uintptr_t>(pc));                     \
  }                                                                                        \
  EXPORT void __tsan_volatile_read##size(void* p) { plain(p, size, false, true, CALLER); } \
  EXPORT void __tsan_volatile_write##size(void* p) { plain(p, size, true, true, CALLER); } \
  /* One event for a read and a write would hide what may come between them. */            \
  EXPORT void __tsan_read_write##size(void* p) {                                           \
    plain(p, size, false, false, CALLER);                                                  \
    plain(p, size, true, false, CALLER);                                                   \
  }
#define UNALIGNED(size)                                                                      \
  EXPORT void __tsan_unaligned_read##size(void* p) { plain(p, size, false, false, CALLER); } \
  EXPORT void __tsan_unaligned_write##size(void* p) { plain(p, size, true, false, CALLER); } \
  EXPORT void __tsan_unaligned_volatile_read##size(void* p) {                                \
    plain(p, size, false, true, CALLER);                                                     \
  }                                                                                          \
  EXPORT void __tsan_unaligned_volatile_write##size(void* p) {                               \
    plain(p, size, true, true, CALLER);                                                      \
  }                                                                                          \
  EXPORT void __tsan_unaligned_read_write##size(void* p) {                                   \
    plain(p, size, false, false, CALLER);                                                    \
    plain(p, size, true, false, CALLER);                                                     \
  }

ACCESSES(1)
ACCESSES(2)
ACCESSES(4)
ACCESSES(8)
ACCESSES(16)
UNALIGNED(2)
UNALIGNED(4)
UNALIGNED(8)
UNALIGNED(16)

EXPORT void __tsan_read_range(void* p, std::size_t size) { plain(p, size, false, false, CALLER); }
EXPORT void __tsan_write_range(void* p, std::size_t size) { plain(p, size, true, false, CALLER); }
EXPORT void __tsan_vptr_read(void** p) { plain(p, sizeof *p, false, false, CALLER); }
EXPORT void __tsan_vptr_update(void** p, void* value) {
  if (*p != value) plain(p, sizeof *p, true, false, CALLER);
}

// As calls of the program: it is compiled so that the compiler does not know them. The machine and libraries call these too.

namespace {

using copy_function = void*(void*, const void*, std::size_t);
using fill_function = void*(void*, int, std::size_t);

copy_function* real_memcpy;
copy_function* real_memmove;
fill_function* real_memset;

bool seen(std::uintptr_t caller) noexcept { return m.running && in_program(caller); }

}  // namespace

EXPORT void* __tsan_memcpy(void* to, const void* from, std::size_t size) {
  plain(from, size, false, false, CALLER);
  plain(to, size, true, false, CALLER);
  return real(real_memcpy, "memcpy")(to, from, size);
}
EXPORT void* __tsan_memmove(void* to, const void* from, std::size_t size) {
  plain(from, size, false, false, CALLER);
  plain(to, size, true, false, CALLER);
  return real(real_memmove, "memmove")(to, from, size);
}
EXPORT void* __tsan_memset(void* to, int value, std::size_t size) {
  plain(to, size, true, false, CALLER);
  return real(real_memset, "memset")(to, value, size);
}
EXPORT void* memcpy(void* to, const void* from, std::size_t size) {
  if (seen(CALLER)) [[unlikely]] {
    plain(from, size, false, false, CALLER);
    plain(to, size, true, false, CALLER);
  }
  return real(real_memcpy, "memcpy")(to, from, size);
}
EXPORT void* memmove(void* to, const void* from, std::size_t size) {
  if (seen(CALLER)) [[unlikely]] {
    plain(from, size, false, false, CALLER);
    plain(to, size, true, false, CALLER);
  }
  return real(real_memmove, "memmove")(to, from, size);
}
EXPORT void* memset(void* to, int value, std::size_t size) {
  if (seen(CALLER)) [[unlikely]]
    plain(to, size, true, false, CALLER);
  return real(real_memset, "memset")(to, value, size);
}

EXPORT void __tsan_atomic_thread_fence(int order) {
  if (m.running) {
    m.fence(order, CALLER);
  } else {
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
  }
}
// Orders a flow against the interrupts of its own CPU.
EXPORT void __tsan_atomic_signal_fence(int order) {
  if (m.running) m.signal_fence(order);
}

namespace {

template <class T>
T load(const volatile T* p, int order, std::uintptr_t pc) noexcept {
  if (!explored(p)) return __atomic_load_n(p, __ATOMIC_SEQ_CST);
  const auto address = reinterpret_cast<std::uintptr_t>(p);
  m.atomic_access(op_kind::read, address, sizeof(T), order, pc);
  if constexpr (sizeof(T) <= sizeof(std::uint64_t)) {
    if (std::uint64_t newest; m.forward_load(address, sizeof(T), order != __ATOMIC_RELAXED, newest))
      return static_cast<T>(newest);
  }
  const T value = *p;
  m.atomic_loaded(address, order);
  m.same_value(pc, address, static_cast<std::uint64_t>(value));
  return value;
}

template <class T>
void store(volatile T* p, T value, int order, std::uintptr_t pc) noexcept {
  if (!explored(p)) {
    __atomic_store_n(p, value, __ATOMIC_SEQ_CST);
    return;
  }
  const auto address = reinterpret_cast<std::uintptr_t>(p);
  if constexpr (sizeof(T) <= sizeof(std::uint64_t)) {
    if (m.buffer_store(address, sizeof(T), static_cast<std::uint64_t>(value), order, pc)) return;
  }
  m.atomic_access(op_kind::write, address, sizeof(T), order, pc);
  if (*p != value) m.varies();
  *p = value;
  m.atomic_stored(address, order);
  m.same_value(pc, address, static_cast<std::uint64_t>(value));
}

template <class T, class F>
T modify(volatile T* p, int order, std::uintptr_t pc, F change) noexcept {
  if (!explored(p)) {
    T old = __atomic_load_n(p, __ATOMIC_SEQ_CST);
    while (!__atomic_compare_exchange_n(p, &old, change(old), false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_SEQ_CST)) {
    }
    return old;
  }
  const auto address = reinterpret_cast<std::uintptr_t>(p);
  m.atomic_access(op_kind::rmw, address, sizeof(T), order, pc);
  const T old = *p;
  const T value = change(old);
  *p = value;
  m.atomic_modified(address, order);
  if (value != old) m.changed(address, sizeof(T));
  // A loop that waits is told by what changes nothing, or by what gives back: a lock is not held there.
  if (value == old || order == __ATOMIC_RELEASE)
    m.same_value(pc, address, static_cast<std::uint64_t>(value));
  return old;
}

template <class T>
bool compare_exchange(volatile T* p, T* expected, T desired, int order, int failure,
                      std::uintptr_t pc) noexcept {
  if (!explored(p)) {
    return __atomic_compare_exchange_n(p, expected, desired, false, __ATOMIC_SEQ_CST,
                                       __ATOMIC_SEQ_CST);
  }
  const auto address = reinterpret_cast<std::uintptr_t>(p);
  m.atomic_access(op_kind::rmw, address, sizeof(T), order, pc);
  const T old = *p;
  if (old == *expected) {
    *p = desired;
    m.atomic_modified(address, order);
    if (desired != old) m.changed(address, sizeof(T));
    return true;
  }
  m.atomic_loaded(address, failure);
  m.same_value(pc, address, static_cast<std::uint64_t>(old));
  *expected = old;
  return false;
}

}  // namespace

#define ATOMICS(bits, T)                                                                         \
  EXPORT T __tsan_atomic##bits##_load(const volatile T* p, int order) {                          \
    return load<T>(p, order, CALLER);                                                            \
  }                                                                                              \
  EXPORT void __tsan_atomic##bits##_store(volatile T* p, T v, int order) {                       \
    store<T>(p, v, order, CALLER);                                                               \
  }                                                                                              \
  EXPORT T __tsan_atomic##bits##_exchange(volatile T* p, T v, int order) {                       \
    return modify<T>(p, order, CALLER, [v](T) { return v; });                                    \
  }                                                                                              \
  EXPORT T __tsan_atomic##bits##_fetch_add(volatile T* p, T v, int order) {                      \
    return modify<T>(p, order, CALLER, [v](T old) { return static_cast<T>(old + v); });          \
  }                                                                                              \
  EXPORT T __tsan_atomic##bits##_fetch_sub(volatile T* p, T v, int order) {                      \
    return modify<T>(p, order, CALLER, [v](T old) { return static_cast<T>(old - v); });          \
  }                                                                                              \
  EXPORT T __tsan_atomic##bits##_fetch_and(volatile T* p, T v, int order) {                      \
    return modify<T>(p, order, CALLER, [v](T old) { return static_cast<T>(old & v); });          \
  }                                                                                              \
  EXPORT T __tsan_atomic##bits##_fetch_or(volatile T* p, T v, int order) {                       \
    return modify<T>(p, order, CALLER, [v](T old) { return static_cast<T>(old | v); });          \
  }                                                                                              \
  EXPORT T __tsan_atomic##bits##_fetch_xor(volatile T* p, T v, int order) {                      \
    return modify<T>(p, order, CALLER, [v](T old) { return static_cast<T>(old ^ v); });          \
  }                                                                                              \
  EXPORT T __tsan_atomic##bits##_fetch_nand(volatile T* p, T v, int order) {                     \
    return modify<T>(p, order, CALLER, [v](T old) { return static_cast<T>(~(old & v)); });       \
  }                                                                                              \
  EXPORT int __tsan_atomic##bits##_compare_exchange_strong(volatile T* p, T* expected, T v,      \
                                                           int order, int failure) {             \
    return compare_exchange<T>(p, expected, v, order, failure, CALLER);                          \
  }                                                                                              \
  EXPORT int __tsan_atomic##bits##_compare_exchange_weak(volatile T* p, T* expected, T v,        \
                                                         int order, int failure) {               \
    return compare_exchange<T>(p, expected, v, order, failure, CALLER);                          \
  }                                                                                              \
  EXPORT T __tsan_atomic##bits##_compare_exchange_val(volatile T* p, T expected, T v, int order, \
                                                      int failure) {                             \
    (void)compare_exchange<T>(p, &expected, v, order, failure, CALLER);                          \
    return expected;                                                                             \
  }

ATOMICS(8, std::uint8_t)
ATOMICS(16, std::uint16_t)
ATOMICS(32, std::uint32_t)
ATOMICS(64, std::uint64_t)
__extension__ using wide = unsigned __int128;
ATOMICS(128, wide)

// Atomic objects that no instruction serves: calls of libatomic, whose locks nobody would see. Names: GCC's atomic library.

#define GENERIC(result, name, parameters)           \
  extern "C" __attribute__((visibility("default"))) \
  result generic_##name parameters __asm__("__atomic_" #name)
GENERIC(void, load, (std::size_t size, const void* p, void* value, int order));
GENERIC(void, store, (std::size_t size, void* p, const void* value, int order));
GENERIC(void, exchange, (std::size_t size, void* p, const void* value, void* old, int order));
GENERIC(bool, compare_exchange,
        (std::size_t size, void* p, void* expected, const void* desired, int order, int failure));

void generic_load(std::size_t size, const void* p, void* value, int order) {
  static std::remove_pointer_t<decltype(&generic_load)>* cache;
  if (!explored(p)) return real(cache, "__atomic_load")(size, p, value, order);
  const auto address = reinterpret_cast<std::uintptr_t>(p);
  m.atomic_access(op_kind::read, address, size, order, CALLER);
  std::memcpy(value, p, size);
  m.atomic_loaded(address, order);
}
void generic_store(std::size_t size, void* p, const void* value, int order) {
  static std::remove_pointer_t<decltype(&generic_store)>* cache;
  if (!explored(p)) return real(cache, "__atomic_store")(size, p, value, order);
  const auto address = reinterpret_cast<std::uintptr_t>(p);
  m.atomic_access(op_kind::write, address, size, order, CALLER);
  std::memcpy(p, value, size);
  m.atomic_stored(address, order);
}
void generic_exchange(std::size_t size, void* p, const void* value, void* old, int order) {
  static std::remove_pointer_t<decltype(&generic_exchange)>* cache;
  if (!explored(p)) return real(cache, "__atomic_exchange")(size, p, value, old, order);
  const auto address = reinterpret_cast<std::uintptr_t>(p);
  m.atomic_access(op_kind::rmw, address, size, order, CALLER);
  std::memcpy(old, p, size);
  std::memcpy(p, value, size);
  m.atomic_modified(address, order);
  m.changed(address, size);
}
bool generic_compare_exchange(std::size_t size, void* p, void* expected, const void* desired,
                              int order, int failure) {
  static std::remove_pointer_t<decltype(&generic_compare_exchange)>* cache;
  if (!explored(p)) {
    return real(cache, "__atomic_compare_exchange")(size, p, expected, desired, order, failure);
  }
  const auto address = reinterpret_cast<std::uintptr_t>(p);
  m.atomic_access(op_kind::rmw, address, size, order, CALLER);
  if (std::memcmp(p, expected, size) == 0) {
    std::memcpy(p, desired, size);
    m.atomic_modified(address, order);
    m.changed(address, size);
    return true;
  }
  std::memcpy(expected, p, size);
  m.atomic_loaded(address, failure);
  return false;
}

// Of 16 bytes: clang calls these.
GENERIC(wide, load_16, (const volatile void* p, int order));
GENERIC(void, store_16, (volatile void* p, wide value, int order));
GENERIC(wide, exchange_16, (volatile void* p, wide value, int order));
GENERIC(bool, compare_exchange_16,
        (volatile void* p, void* expected, wide desired, int order, int failure));

wide generic_load_16(const volatile void* p, int order) {
  static std::remove_pointer_t<decltype(&generic_load_16)>* cache;
  if (!explored(p)) return real(cache, "__atomic_load_16")(p, order);
  return load(static_cast<const volatile wide*>(p), order, CALLER);
}
void generic_store_16(volatile void* p, wide value, int order) {
  static std::remove_pointer_t<decltype(&generic_store_16)>* cache;
  if (!explored(p)) return real(cache, "__atomic_store_16")(p, value, order);
  store(static_cast<volatile wide*>(p), value, order, CALLER);
}
wide generic_exchange_16(volatile void* p, wide value, int order) {
  static std::remove_pointer_t<decltype(&generic_exchange_16)>* cache;
  if (!explored(p)) return real(cache, "__atomic_exchange_16")(p, value, order);
  return modify(static_cast<volatile wide*>(p), order, CALLER, [value](wide) { return value; });
}
bool generic_compare_exchange_16(volatile void* p, void* expected, wide desired, int order,
                                 int failure) {
  static std::remove_pointer_t<decltype(&generic_compare_exchange_16)>* cache;
  if (!explored(p)) {
    return real(cache, "__atomic_compare_exchange_16")(p, expected, desired, order, failure);
  }
  return compare_exchange(static_cast<volatile wide*>(p), static_cast<wide*>(expected), desired,
                          order, failure, CALLER);
}
