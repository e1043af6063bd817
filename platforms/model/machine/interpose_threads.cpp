// SPDX-License-Identifier: Apache-2.0

/// POSIX threads, time and what else waits, on the machine: in an execution these are its tasks, its locks and its clock. What is
/// not modelled is refused by name, since it would block all flows at once.
///
/// A pthread_mutex_t is known by its address; its contents are not used, so a statically initialised one is as good as any. Recursive and
/// error-checking kinds are told by libc's own field.

#include <cxxabi.h>
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <typeinfo>

#include "interpose.hpp"
#include "machine.hpp"

using namespace interlock::machine;

namespace {

std::uint64_t object_of(const volatile void* p) noexcept {
  return reinterpret_cast<std::uintptr_t>(p);
}

std::int64_t nanoseconds(const timespec& t) noexcept {
  return t.tv_sec * 1'000'000'000 + t.tv_nsec;
}

/// Threads are told by this bias from those of libc, and from null.
constexpr std::uint64_t thread_bias = 0x7100'0000'0000;
std::uint64_t task_of(pthread_t t) noexcept { return static_cast<std::uint64_t>(t) - thread_bias; }

struct thread_start {
  void* (*entry)(void*);
  void* argument;
  void* result;
};
void* results[max_processes];

void run_thread(void* memory) {
  auto* const start = static_cast<thread_start*>(memory);
  const thread_start s = *start;
  m.release(start, 0);
  void* const result = s.entry(s.argument);
  results[m.self] = result;
}

/// The sequence of a condition variable: what waiters sleep on. It stands in the variable itself.
std::uint32_t* sequence(pthread_cond_t* c) noexcept { return reinterpret_cast<std::uint32_t*>(c); }

bool recursive(const pthread_mutex_t* mutex) noexcept {
  return (mutex->__data.__kind & 3) == PTHREAD_MUTEX_RECURSIVE_NP;
}
bool checking(const pthread_mutex_t* mutex) noexcept {
  return (mutex->__data.__kind & 3) == PTHREAD_MUTEX_ERRORCHECK_NP;
}

process_id holder_of(std::uint64_t object_id) noexcept {
  return m.locations.at(granule_of(object_write(object::lock, object_id).address), m.stamp).holder;
}

int lock_mutex(pthread_mutex_t* mutex, std::uintptr_t pc) noexcept {
  m.deny_device("takes a lock");
  if (holder_of(object_of(mutex)) == m.self) {
    if (recursive(mutex)) {
      ++mutex->__data.__count;
      return 0;
    }
    if (checking(mutex)) return EDEADLK;
    m.fail(failure_kind::deadlock, "BUG: deadlock: a task locks a mutex that it holds");
  }
  m.lock(object_of(mutex), pc);
  return 0;
}

int unlock_mutex(pthread_mutex_t* mutex, std::uintptr_t pc) noexcept {
  if (holder_of(object_of(mutex)) != m.self) {
    if (recursive(mutex) || checking(mutex)) return EPERM;
    m.fail(failure_kind::assertion, "BUG: a task unlocks a mutex that it does not hold");
  }
  if (recursive(mutex) && mutex->__data.__count != 0) {
    --mutex->__data.__count;
    return 0;
  }
  m.unlock(object_of(mutex), pc);
  return 0;
}

/// Of what sleeps for certain. A mutex may be free, and then its owner has not slept.
void deny_atomic(const char* what) noexcept {
  m.deny_device("sleeps");
  const char* why = nullptr;
  if (m.me().preempt != 0) why = "preemption disabled";
  if (m.my_cpu().irqs_off) why = "interrupts off";
  if (m.my_cpu().interrupts != 0) why = "bottom halves disabled, or in an interrupt";
  if (why == nullptr) return;
  m.fail(failure_kind::assertion, "BUG: scheduling while atomic: %s %s with %s", m.me().name, what,
         why);
}

int wait_for(pthread_cond_t* c, pthread_mutex_t* mutex, std::int64_t until,
             std::uintptr_t pc) noexcept {
  deny_atomic("waits for a condition variable");
  const std::uint32_t seen = *sequence(c);
  m.unlock(object_of(mutex), pc);
  const int end = m.park(sequence(c), seen, until, false, pc);
  m.lock(object_of(mutex), pc);
  return end == 2 ? ETIMEDOUT : 0;
}

int notify(pthread_cond_t* c, unsigned count, std::uintptr_t pc) noexcept {
  m.atomic_access(op_kind::rmw, reinterpret_cast<std::uintptr_t>(c), sizeof(std::uint32_t),
                  __ATOMIC_RELAXED, pc);
  ++*sequence(c);
  m.unpark(sequence(c), count, pc);
  return 0;
}

[[noreturn]] void refuse(const char* what) noexcept {
  m.fail(failure_kind::other,
         "%s is not modelled: it would block the whole machine. Use Interlock, std::mutex or "
         "std::condition_variable, or keep it out of what is explored",
         what);
}

}  // namespace

EXPORT int pthread_create(pthread_t* thread, const pthread_attr_t* attributes,
                          void* (*entry)(void*), void* argument) {
  if (!m.running) return REAL(pthread_create)(thread, attributes, entry, argument);
  auto* const start = static_cast<thread_start*>(m.allocate(sizeof(thread_start), 16, CALLER));
  if (start == nullptr) return EAGAIN;
  *start = {entry, argument, nullptr};
  char name[16] = "thread";
  name[6] = static_cast<char>('0' + m.task_count % 10);
  m.plain_access(reinterpret_cast<std::uintptr_t>(thread), sizeof *thread, true, false, CALLER);
  *thread = static_cast<pthread_t>(m.spawn(run_thread, start, name, false) + thread_bias);
  return 0;
}
EXPORT int pthread_join(pthread_t thread, void** result) {
  if (!m.running) return REAL(pthread_join)(thread, result);
  const std::uint64_t task = task_of(thread);
  if (task == 0 || task > m.process_count) return ESRCH;
  if (task - 1 == m.self) return EDEADLK;
  deny_atomic("waits for a thread");
  m.join(task, CALLER);
  if (result != nullptr) {
    m.plain_access(reinterpret_cast<std::uintptr_t>(result), sizeof *result, true, false, CALLER);
    *result = results[task - 1];
  }
  return 0;
}
EXPORT int pthread_detach(pthread_t thread) { return m.running ? 0 : REAL(pthread_detach)(thread); }
EXPORT pthread_t pthread_self() {
  return m.running ? static_cast<pthread_t>(m.self + 1u + thread_bias) : REAL(pthread_self)();
}
// <pthread.h> may have defined it, to be inlined.
EXPORT int equal_threads(pthread_t a, pthread_t b) __asm__("pthread_equal");
int equal_threads(pthread_t a, pthread_t b) { return a == b; }

EXPORT int pthread_mutex_lock(pthread_mutex_t* mutex) {
  return m.running ? lock_mutex(mutex, CALLER) : REAL(pthread_mutex_lock)(mutex);
}
EXPORT int pthread_mutex_trylock(pthread_mutex_t* mutex) {
  if (!m.running) return REAL(pthread_mutex_trylock)(mutex);
  if (recursive(mutex) && holder_of(object_of(mutex)) == m.self) return lock_mutex(mutex, CALLER);
  return m.try_lock(object_of(mutex), CALLER) ? 0 : EBUSY;
}
EXPORT int pthread_mutex_unlock(pthread_mutex_t* mutex) {
  return m.running ? unlock_mutex(mutex, CALLER) : REAL(pthread_mutex_unlock)(mutex);
}

EXPORT int pthread_cond_wait(pthread_cond_t* c, pthread_mutex_t* mutex) {
  if (!m.running) return REAL(pthread_cond_wait)(c, mutex);
  return wait_for(c, mutex, for_ever, CALLER);
}
EXPORT int pthread_cond_timedwait(pthread_cond_t* c, pthread_mutex_t* mutex,
                                  const timespec* until) {
  if (!m.running) return REAL(pthread_cond_timedwait)(c, mutex, until);
  return wait_for(c, mutex, nanoseconds(*until), CALLER);
}
EXPORT int pthread_cond_clockwait(pthread_cond_t* c, pthread_mutex_t* mutex, clockid_t clock_id,
                                  const timespec* until) {
  if (!m.running) return REAL(pthread_cond_clockwait)(c, mutex, clock_id, until);
  return wait_for(c, mutex, nanoseconds(*until), CALLER);
}
EXPORT int pthread_cond_signal(pthread_cond_t* c) {
  return m.running ? notify(c, 1, CALLER) : REAL(pthread_cond_signal)(c);
}
EXPORT int pthread_cond_broadcast(pthread_cond_t* c) {
  return m.running ? notify(c, UINT32_MAX, CALLER) : REAL(pthread_cond_broadcast)(c);
}

EXPORT int pthread_spin_lock(pthread_spinlock_t* lock) {
  if (!m.running) return REAL(pthread_spin_lock)(lock);
  if (holder_of(object_of(lock)) == m.self)
    m.fail(failure_kind::deadlock, "BUG: deadlock: a task locks a spin lock that it holds");
  m.lock(object_of(lock), CALLER);
  return 0;
}
EXPORT int pthread_spin_trylock(pthread_spinlock_t* lock) {
  if (!m.running) return REAL(pthread_spin_trylock)(lock);
  return m.try_lock(object_of(lock), CALLER) ? 0 : EBUSY;
}
EXPORT int pthread_spin_unlock(pthread_spinlock_t* lock) {
  if (!m.running) return REAL(pthread_spin_unlock)(lock);
  if (holder_of(object_of(lock)) != m.self)
    m.fail(failure_kind::assertion, "BUG: a task unlocks a spin lock that it does not hold");
  m.unlock(object_of(lock), CALLER);
  return 0;
}

// Reader-writer locks: the first word counts the readers. Who waits may be overtaken by both kinds.

namespace {

constexpr std::uint32_t a_writer = UINT32_MAX;

std::uint32_t* word_of(pthread_rwlock_t* lock) noexcept {
  return reinterpret_cast<std::uint32_t*>(lock);
}

int enter(pthread_rwlock_t* lock, bool writes, bool waits, std::uintptr_t pc) noexcept {
  std::uint32_t* const word = word_of(lock);
  const auto address = reinterpret_cast<std::uintptr_t>(word);
  while (true) {
    m.atomic_access(op_kind::rmw, address, sizeof *word, __ATOMIC_ACQUIRE, pc);
    const std::uint32_t state = *word;
    if (writes ? state == 0 : state != a_writer) {
      *word = writes ? a_writer : state + 1;
      m.atomic_modified(address, __ATOMIC_ACQUIRE);
      return 0;
    }
    m.atomic_loaded(address, __ATOMIC_RELAXED);
    if (!waits) return EBUSY;
    (void)m.park(word, state, for_ever, false, pc);
  }
}

}  // namespace

EXPORT int pthread_rwlock_rdlock(pthread_rwlock_t* lock) {
  return m.running ? enter(lock, false, true, CALLER) : REAL(pthread_rwlock_rdlock)(lock);
}
EXPORT int pthread_rwlock_tryrdlock(pthread_rwlock_t* lock) {
  return m.running ? enter(lock, false, false, CALLER) : REAL(pthread_rwlock_tryrdlock)(lock);
}
EXPORT int pthread_rwlock_wrlock(pthread_rwlock_t* lock) {
  return m.running ? enter(lock, true, true, CALLER) : REAL(pthread_rwlock_wrlock)(lock);
}
EXPORT int pthread_rwlock_trywrlock(pthread_rwlock_t* lock) {
  return m.running ? enter(lock, true, false, CALLER) : REAL(pthread_rwlock_trywrlock)(lock);
}
EXPORT int pthread_rwlock_unlock(pthread_rwlock_t* lock) {
  if (!m.running) return REAL(pthread_rwlock_unlock)(lock);
  std::uint32_t* const word = word_of(lock);
  const auto address = reinterpret_cast<std::uintptr_t>(word);
  m.atomic_access(op_kind::rmw, address, sizeof *word, __ATOMIC_RELEASE, CALLER);
  if (*word == 0)
    m.fail(failure_kind::assertion, "BUG: a reader-writer lock is unlocked that nobody holds");
  *word = *word == a_writer ? 0 : *word - 1;
  const bool is_free = *word == 0;
  m.atomic_modified(address, __ATOMIC_RELEASE);
  if (is_free) m.unpark(word, UINT32_MAX, CALLER);
  return 0;
}

EXPORT int pthread_once(pthread_once_t* once, void (*function)()) {
  constexpr int done = 2;
  if (!m.running) return REAL(pthread_once)(once, function);
  if (!in_program(CALLER)) {
    // A library's own: what it makes outlives the execution, and is not looked into.
    if (*once == done) return 0;
    m.running = false;
    function();
    m.running = true;
    *once = done;
    return 0;
  }
  const auto address = reinterpret_cast<std::uintptr_t>(once);
  m.atomic_access(op_kind::read, address, sizeof *once, __ATOMIC_ACQUIRE, CALLER);
  m.atomic_loaded(address, __ATOMIC_ACQUIRE);
  if (*once == done) return 0;
  m.lock(object_of(once), CALLER);
  if (*once != done) {
    try {
      function();
    } catch (...) {
      m.unlock(object_of(once), CALLER);
      throw;
    }
    m.atomic_access(op_kind::write, address, sizeof *once, __ATOMIC_RELEASE, CALLER);
    *once = done;
    m.atomic_stored(address, __ATOMIC_RELEASE);
  }
  m.unlock(object_of(once), CALLER);
  return 0;
}

// Statics of functions: a lock, and one byte that the compiler's own code reads with an acquire load. Itanium C++ ABI 3.3.3.
EXPORT int __cxa_guard_acquire(abi::__guard* guard) {
  auto* const done = reinterpret_cast<unsigned char*>(guard);
  if (!m.running) {
    using function = int(abi::__guard*);
    static function* cache;
    return real(cache, "__cxa_guard_acquire")(guard);
  }
  const std::uint64_t id = object_of(guard);
  if (holder_of(id) == m.self)
    m.fail(failure_kind::assertion,
           "BUG: the initialisation of a static variable needs the variable");
  m.lock(id, CALLER);
  if (*done != 0) {
    m.unlock(id, CALLER);
    return 0;
  }
  return 1;
}
EXPORT void __cxa_guard_release(abi::__guard* guard) {
  if (!m.running) {
    using function = void(abi::__guard*);
    static function* cache;
    real(cache, "__cxa_guard_release")(guard);
    return;
  }
  const auto address = reinterpret_cast<std::uintptr_t>(guard);
  m.atomic_access(op_kind::write, address, 1, __ATOMIC_RELEASE, CALLER);
  *reinterpret_cast<unsigned char*>(guard) = 1;
  m.atomic_stored(address, __ATOMIC_RELEASE);
  m.unlock(object_of(guard), CALLER);
}
EXPORT void __cxa_guard_abort(abi::__guard* guard) {
  if (!m.running) {
    using function = void(abi::__guard*);
    static function* cache;
    real(cache, "__cxa_guard_abort")(guard);
    return;
  }
  m.unlock(object_of(guard), CALLER);
}

EXPORT int sched_yield() {
  if (!m.running) return REAL(sched_yield)();
  m.yield(CALLER);
  return 0;
}

// Waits of std::atomic: libstdc++ makes the system call itself.
EXPORT long syscall(long number, ...) {
  va_list list;
  va_start(list, number);
  long a[6];
  for (long& argument : a) argument = va_arg(list, long);
  va_end(list);
  if (!m.running) {
    static long (*cache)(long, ...);
    return real(cache, "syscall")(number, a[0], a[1], a[2], a[3], a[4], a[5]);
  }
  if (number == SYS_gettid) return m.me().number;
  if (number != SYS_futex) {
    m.fail(failure_kind::other, "system call %ld is not modelled: its result could not be replayed",
           number);
  }
  constexpr long command_mask = 127;
  auto* const word = reinterpret_cast<std::uint32_t*>(a[0]);
  switch (a[1] & command_mask) {
    case 0:    // FUTEX_WAIT
    case 9: {  // FUTEX_WAIT_BITSET
      std::int64_t until = for_ever;
      if (a[3] != 0) {
        until = nanoseconds(*reinterpret_cast<const timespec*>(a[3]));
        if ((a[1] & command_mask) == 0) until += m.read_clock();
      }
      deny_atomic("waits for an atomic object");
      const int end = m.park(word, static_cast<std::uint32_t>(a[2]), until, false, CALLER);
      if (end == 0) return 0;
      errno = end == 1 ? EAGAIN : ETIMEDOUT;
      return -1;
    }
    case 1:   // FUTEX_WAKE
    case 10:  // FUTEX_WAKE_BITSET
      return static_cast<long>(m.unpark(word, static_cast<unsigned>(a[2]), CALLER));
    default: refuse("this futex operation");
  }
}

EXPORT int clock_gettime(clockid_t clock_id, timespec* t) {
  if (!m.running) return REAL(clock_gettime)(clock_id, t);
  t->tv_sec = m.read_clock() / 1'000'000'000;
  t->tv_nsec = m.read_clock() % 1'000'000'000;
  return 0;
}

namespace {
/// Sleeps on a word of which nobody knows.
void sleep_until(std::int64_t until, std::uintptr_t pc) noexcept {
  deny_atomic("sleeps");
  std::uint32_t nobody = 0;
  (void)m.park(&nobody, 0, until, false, pc);
}
}  // namespace

EXPORT int nanosleep(const timespec* time, timespec* left) {
  if (!m.running) return REAL(nanosleep)(time, left);
  sleep_until(m.read_clock() + nanoseconds(*time), CALLER);
  return 0;
}
EXPORT int clock_nanosleep(clockid_t clock_id, int flags, const timespec* time, timespec* left) {
  if (!m.running) return REAL(clock_nanosleep)(clock_id, flags, time, left);
  sleep_until(
      (flags & TIMER_ABSTIME) != 0 ? nanoseconds(*time) : m.read_clock() + nanoseconds(*time),
      CALLER);
  return 0;
}
EXPORT int usleep(useconds_t time) {
  if (!m.running) return REAL(usleep)(time);
  sleep_until(m.read_clock() + std::int64_t{time} * 1000, CALLER);
  return 0;
}
EXPORT unsigned sleep(unsigned seconds) {
  if (!m.running) return REAL(sleep)(seconds);
  sleep_until(m.read_clock() + std::int64_t{seconds} * 1'000'000'000, CALLER);
  return 0;
}

EXPORT time_t time(time_t* result) {
  if (!m.running) return REAL(time)(result);
  const time_t seconds = m.read_clock() / 1'000'000'000;
  if (result != nullptr) *result = seconds;
  return seconds;
}
EXPORT int gettimeofday(timeval* t, void* zone) {
  if (!m.running) return REAL(gettimeofday)(t, zone);
  t->tv_sec = m.read_clock() / 1'000'000'000;
  t->tv_usec = m.read_clock() % 1'000'000'000 / 1000;
  return 0;
}

#define REFUSED(name, result, parameters, arguments) \
  EXPORT result name parameters {                    \
    if (m.running) refuse(#name);                    \
    return REAL(name) arguments;                     \
  }
REFUSED(pthread_rwlock_timedrdlock, int, (pthread_rwlock_t * lock, const timespec* until),
        (lock, until))
REFUSED(pthread_rwlock_timedwrlock, int, (pthread_rwlock_t * lock, const timespec* until),
        (lock, until))
REFUSED(pthread_rwlock_clockrdlock, int,
        (pthread_rwlock_t * lock, clockid_t clock_id, const timespec* until),
        (lock, clock_id, until))
REFUSED(pthread_rwlock_clockwrlock, int,
        (pthread_rwlock_t * lock, clockid_t clock_id, const timespec* until),
        (lock, clock_id, until))
REFUSED(pthread_mutex_timedlock, int, (pthread_mutex_t * mutex, const timespec* until),
        (mutex, until))
REFUSED(pthread_mutex_clocklock, int,
        (pthread_mutex_t * mutex, clockid_t clock_id, const timespec* until),
        (mutex, clock_id, until))
REFUSED(pthread_barrier_wait, int, (pthread_barrier_t * barrier), (barrier))
REFUSED(sem_wait, int, (sem_t * semaphore), (semaphore))
REFUSED(sem_timedwait, int, (sem_t * semaphore, const timespec* until), (semaphore, until))
REFUSED(poll, int, (pollfd * files, nfds_t count, int timeout), (files, count, timeout))
REFUSED(select, int, (int count, fd_set* in, fd_set* out, fd_set* other, timeval* timeout),
        (count, in, out, other, timeout))
REFUSED(epoll_wait, int, (int file, epoll_event* events, int count, int timeout),
        (file, events, count, timeout))
REFUSED(fork, pid_t, (), ())
REFUSED(getrandom, ssize_t, (void* memory, std::size_t size, unsigned flags), (memory, size, flags))

// --- ends of the program ---

EXPORT void abort() {
  if (m.running) m.fail(failure_kind::assertion, "BUG: abort() was called");
  using function = void();
  static function* cache;
  real(cache, "abort")();
  __builtin_trap();
}
EXPORT void __assert_fail(const char* assertion, const char* file, unsigned line,
                          const char* function_name) {
  if (m.running) {
    m.fail(failure_kind::assertion, "BUG: assertion `%s' failed at %s:%u, %s", assertion, file,
           line, function_name);
  }
  using function = void(const char*, const char*, unsigned, const char*);
  static function* cache;
  real(cache, "__assert_fail")(assertion, file, line, function_name);
  __builtin_trap();
}
EXPORT void exit(int status) {
  if (m.running) m.fail(failure_kind::assertion, "BUG: exit(%d) was called", status);
  REAL(exit)(status);
  __builtin_trap();
}
EXPORT void _exit(int status) {
  if (m.running) m.fail(failure_kind::assertion, "BUG: _exit(%d) was called", status);
  REAL(_exit)(status);
  __builtin_trap();
}
EXPORT void _Exit(int status) { _exit(status); }
EXPORT void quick_exit(int status) {
  if (m.running) m.fail(failure_kind::assertion, "BUG: quick_exit(%d) was called", status);
  REAL(quick_exit)(status);
  __builtin_trap();
}
EXPORT void pthread_exit(void* result) {
  if (m.running) refuse("pthread_exit");
  REAL(pthread_exit)(result);
  __builtin_trap();
}

namespace {

/// The C++ library calls it where an exception leaves a flow, or a function that must not throw.
struct terminations {
  terminations() noexcept { former = std::set_terminate(terminated); }
  [[noreturn]] static void terminated() {
    if (!m.running) {
      former();
      std::abort();
    }
    const std::type_info* const type = abi::__cxa_current_exception_type();
    if (type == nullptr) m.fail(failure_kind::assertion, "BUG: std::terminate() was called");
    // what() may be the program's, and is not to be explored.
    static char what[1024];
    static char name[256];
    what[0] = '\0';
    m.running = false;
    try {
      throw;
    } catch (const std::exception& e) {
      std::snprintf(what, sizeof what, ": %s", e.what());
    } catch (...) {
    }
    int status = 0;
    char* const readable = abi::__cxa_demangle(type->name(), nullptr, nullptr, &status);
    std::snprintf(name, sizeof name, "%s", readable != nullptr ? readable : type->name());
    std::free(readable);
    m.running = true;
    m.fail(failure_kind::assertion, "BUG: an exception was not caught: %s%s", name, what);
  }
  static inline std::terminate_handler former = nullptr;
};
const terminations handler;

}  // namespace

EXPORT void __cxa_pure_virtual() {
  if (m.running) m.fail(failure_kind::assertion, "BUG: a pure virtual function was called");
  std::abort();
}
// Destructors of statics that an execution makes: the variables are undone with it.
EXPORT int __cxa_atexit(void (*function)(void*), void* argument, void* owner) {
  if (m.running) return 0;
  using registers = int(void (*)(void*), void*, void*);
  static registers* cache;
  return real(cache, "__cxa_atexit")(function, argument, owner);
}
