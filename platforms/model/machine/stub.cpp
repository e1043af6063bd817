// SPDX-License-Identifier: Apache-2.0

/// A stand-in for the machine: one CPU, one flow; a spawned task runs at once, to its end.

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "interlock_platform/machine.h"

namespace {

alignas(64) constinit unsigned char cpu_block[64] = {};
alignas(64) constinit unsigned char task_blocks[2][64] = {};
constinit unsigned task_depth = 0;
constinit bool executing = false;
void (*exit_hook)() = nullptr;
void (*entries[interlock_machine_bells])() = {};

}  // namespace

extern "C" {

void* interlock_machine_cpu_words(void) { return cpu_block; }
void* interlock_machine_task_words(void) { return task_blocks[task_depth]; }
uint32_t interlock_machine_cpu(void) { return 1; }
uint32_t interlock_machine_task(void) { return task_depth + 1; }
const char* interlock_machine_task_name(void) { return "stub"; }
bool interlock_machine_in_execution(void) { return executing; }
unsigned interlock_machine_cpus(void) { return 1; }

uint64_t interlock_machine_spawn(void (*entry)(void*), void* argument, const char*, bool) {
  if (task_depth == 1) return 0;
  ++task_depth;
  std::memset(task_blocks[task_depth], 0, sizeof task_blocks[0]);
  entry(argument);
  if (exit_hook != nullptr) exit_hook();
  --task_depth;
  return 2;
}
void interlock_machine_join(uint64_t) {}
void interlock_machine_at_task_exit(void (*hook)(void)) { exit_hook = hook; }

int interlock_machine_park(const uint32_t* word, uint32_t expected, int64_t until, bool) {
  if (*word != expected) return interlock_machine_value_changed;
  if (until == INT64_MAX) interlock_machine_fail("BUG: the stub cannot park");
  return interlock_machine_timed_out;
}
unsigned interlock_machine_unpark(const uint32_t*, unsigned) { return 0; }
void interlock_machine_relax(void) {}
void interlock_machine_yield(void) {}
int64_t interlock_machine_now(void) {
  static int64_t ns = 0;
  return ++ns;
}
void interlock_machine_heavy_barrier(void) {}

bool interlock_machine_install(int bell, void (*entry)(void)) {
  if (entries[bell] != nullptr && entries[bell] != entry) return false;
  entries[bell] = entry;
  return true;
}
bool interlock_machine_ring(uint32_t, int bell) {
  if (entries[bell] == nullptr) return false;
  entries[bell]();
  return true;
}
void interlock_machine_hold(bool) {}
void interlock_machine_announce(enum interlock_machine_event, uint64_t, uint64_t, uint64_t) {}

void interlock_machine_fail(const char* text) {
  std::fprintf(stderr, "%s\n", text);
  std::abort();
}
void interlock_machine_console(const char* text, size_t size) {
  std::fwrite(text, 1, size, stderr);
}
void interlock_machine_note(const char*) {}
size_t interlock_machine_stack(void**, size_t) { return 0; }
void interlock_machine_describe(const void* address, char* buffer, size_t size) {
  std::snprintf(buffer, size, "%p", address);
}

void interlock_machine_explore(const struct interlock_machine_options*, void (*function)(void*),
                               void* argument, struct interlock_machine_result* result) {
  executing = true;
  function(argument);
  executing = false;
  *result = {};
  result->complete = true;
  result->executions = 1;
}
void interlock_machine_result_free(struct interlock_machine_result*) {}

// --- callbacks of instrumented code ---

#pragma GCC visibility push(default)

#define STUB_ACCESS(name) \
  void name(void*);       \
  void name(void*) {}
#define STUB_SIZES(prefix) \
  STUB_ACCESS(prefix##1)   \
  STUB_ACCESS(prefix##2) STUB_ACCESS(prefix##4) STUB_ACCESS(prefix##8) STUB_ACCESS(prefix##16)
STUB_SIZES(__tsan_read)
STUB_SIZES(__tsan_write)
STUB_SIZES(__tsan_read_write)
STUB_SIZES(__tsan_unaligned_read)
STUB_SIZES(__tsan_unaligned_write)
STUB_SIZES(__tsan_unaligned_read_write)
STUB_SIZES(__tsan_volatile_read)
STUB_SIZES(__tsan_volatile_write)
STUB_SIZES(__tsan_unaligned_volatile_read)
STUB_SIZES(__tsan_unaligned_volatile_write)
STUB_ACCESS(__tsan_func_entry)
STUB_ACCESS(__tsan_vptr_read)

void __tsan_init(void);
void __tsan_init(void) {}
void __tsan_func_exit(void);
void __tsan_func_exit(void) {}
void __tsan_vptr_update(void**, void*);
void __tsan_vptr_update(void**, void*) {}
void __tsan_read_range(void*, unsigned long);
void __tsan_read_range(void*, unsigned long) {}
void __tsan_write_range(void*, unsigned long);
void __tsan_write_range(void*, unsigned long) {}
void __tsan_atomic_thread_fence(int);
void __tsan_atomic_thread_fence(int) {}
void __tsan_atomic_signal_fence(int);
void __tsan_atomic_signal_fence(int) {}
void* __tsan_memcpy(void*, const void*, unsigned long);
void* __tsan_memcpy(void* to, const void* from, unsigned long size) {
  return std::memcpy(to, from, size);
}
void* __tsan_memmove(void*, const void*, unsigned long);
void* __tsan_memmove(void* to, const void* from, unsigned long size) {
  return std::memmove(to, from, size);
}
void* __tsan_memset(void*, int, unsigned long);
void* __tsan_memset(void* to, int value, unsigned long size) {
  return std::memset(to, value, size);
}

#define STUB_RMW(bits, type, name, builtin)                          \
  type __tsan_atomic##bits##_##name(volatile type*, type, int);      \
  type __tsan_atomic##bits##_##name(volatile type* a, type v, int) { \
    return builtin(a, v, __ATOMIC_SEQ_CST);                          \
  }
#define STUB_ATOMIC(bits, type)                                                                    \
  type __tsan_atomic##bits##_load(const volatile type*, int);                                      \
  type __tsan_atomic##bits##_load(const volatile type* a, int) {                                   \
    return __atomic_load_n(a, __ATOMIC_SEQ_CST);                                                   \
  }                                                                                                \
  void __tsan_atomic##bits##_store(volatile type*, type, int);                                     \
  void __tsan_atomic##bits##_store(volatile type* a, type v, int) {                                \
    __atomic_store_n(a, v, __ATOMIC_SEQ_CST);                                                      \
  }                                                                                                \
  STUB_RMW(bits, type, exchange, __atomic_exchange_n)                                              \
  STUB_RMW(bits, type, fetch_add, __atomic_fetch_add)                                              \
  STUB_RMW(bits, type, fetch_sub, __atomic_fetch_sub)                                              \
  STUB_RMW(bits, type, fetch_and, __atomic_fetch_and)                                              \
  STUB_RMW(bits, type, fetch_or, __atomic_fetch_or)                                                \
  STUB_RMW(bits, type, fetch_xor, __atomic_fetch_xor)                                              \
  STUB_RMW(bits, type, fetch_nand, __atomic_fetch_nand)                                            \
  int __tsan_atomic##bits##_compare_exchange_strong(volatile type*, type*, type, int, int);        \
  int __tsan_atomic##bits##_compare_exchange_strong(volatile type* a, type* e, type v, int, int) { \
    return __atomic_compare_exchange_n(a, e, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST) ? 1     \
                                                                                           : 0;    \
  }                                                                                                \
  int __tsan_atomic##bits##_compare_exchange_weak(volatile type*, type*, type, int, int);          \
  int __tsan_atomic##bits##_compare_exchange_weak(volatile type* a, type* e, type v, int, int) {   \
    return __atomic_compare_exchange_n(a, e, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST) ? 1     \
                                                                                           : 0;    \
  }                                                                                                \
  type __tsan_atomic##bits##_compare_exchange_val(volatile type*, type, type, int, int);           \
  type __tsan_atomic##bits##_compare_exchange_val(volatile type* a, type e, type v, int, int) {    \
    __atomic_compare_exchange_n(a, &e, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);              \
    return e;                                                                                      \
  }
STUB_ATOMIC(8, uint8_t)
STUB_ATOMIC(16, uint16_t)
STUB_ATOMIC(32, uint32_t)
STUB_ATOMIC(64, uint64_t)

#pragma GCC visibility pop

}  // extern "C"
