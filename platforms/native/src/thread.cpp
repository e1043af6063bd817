// SPDX-License-Identifier: Apache-2.0

/// Service threads by pthreads.

#include "interlock_platform/thread.hpp"

#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>

#include <cstdlib>
#include <cstring>

#include "interlock_platform/local.hpp"
#include "interlock_platform/park.hpp"
#include "native.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::platform {
namespace {

constexpr std::size_t name_size = 16;  // the kernel's TASK_COMM_LEN

struct start {
  void (*entry)(void*);
  void* argument;
  char name[name_size];
};

void* run(void* memory) {
  start s;
  std::memcpy(&s, memory, sizeof(s));
  std::free(memory);
  prctl(PR_SET_NAME, s.name);
  enlist();
  s.entry(s.argument);
  return nullptr;
}

/// Everything but what an instruction of the thread itself raises, and the doorbells. These are
/// let through by the number chosen at load, before they are installed: a thread that started
/// earlier must hear them too.
void fill_service_mask(sigset_t& mask) noexcept {
  sigfillset(&mask);
  for (const int synchronous : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT}) {
    sigdelset(&mask, synchronous);
  }
  for (const doorbell bell : {doorbell::interrupt, doorbell::nmi}) {
    if (const int number = chosen_doorbell(bell); number != 0) sigdelset(&mask, number);
  }
}

}  // namespace

result<thread_handle> spawn(void (*entry)(void*), void* argument, const char* name) noexcept {
  auto* const s = static_cast<start*>(std::malloc(sizeof(start)));
  if (s == nullptr) return error::not_enough_memory;
  *s = {entry, argument, {}};
  std::strncpy(s->name, name, name_size - 1);

  pthread_attr_t attributes;
  int rc = pthread_attr_init(&attributes);
  if (rc == 0) {
    // By attribute: the thread starts with its mask, and that of the caller never changes.
    sigset_t mask;
    fill_service_mask(mask);
    rc = pthread_attr_setsigmask_np(&attributes, &mask);
    pthread_t thread{};
    if (rc == 0) rc = pthread_create(&thread, &attributes, run, s);
    pthread_attr_destroy(&attributes);
    if (rc == 0) return thread_handle{static_cast<std::uint64_t>(thread)};
  }
  std::free(s);
  return from_negative_errno(-rc);
}

result<thread_handle> spawn_device(void (*entry)(void*), void* argument,
                                   const char* name) noexcept {
  return spawn(entry, argument, name);
}

void device_wait(const atomic<std::uint32_t>& word, std::uint32_t expected) noexcept {
  (void)park(word, expected, no_deadline);
}

void join(thread_handle thread) noexcept {
  pthread_join(static_cast<pthread_t>(thread.value), nullptr);
}

void thread_name(char* buffer) noexcept {
  buffer[0] = '\0';
  prctl(PR_GET_NAME, buffer);
}

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform
