// SPDX-License-Identifier: Apache-2.0

/// Interrupts between two CPUs by real-time signals.
///
/// Handlers run with SA_NODEFER and an empty mask: the core's own flags say what is masked, and a
/// doorbell that the kernel held back would be invisible to them. They run with SA_RESTART, so that
/// few calls return EINTR, and without SA_ONSTACK: an interrupt runs callbacks and softirqs, on the
/// stack that it interrupted, as in a kernel without interrupt stacks; alternate stacks are often
/// sized for a crash handler only.
///
/// A ring carries the address of an object of this library, so that the same signal sent by anybody
/// else (kill(1), another copy of Interlock) is told apart and dropped.
///
/// At unload an instance may be queued on a thread that blocks it at the moment, whose default action
/// would end the process; and handlers may be under way, whose text is about to go. So the signal is
/// ignored first, by which the kernel discards all that is queued, and handlers are waited for. What
/// remains are their first and last few instructions, outside of the count.
///
/// Invariants: I1. `chosen` changes only under `doorbell_lock`, and not while installed.
///             I2. An entry is in place before the handler that calls it.
/// Ordering:   [D1] publishes an entry, [D2] finds it in the handler; [D3] publishes `installed`
///             after the handler is in place, [D4] reads it before ringing.
///             [D5] a handler leaves, [D6] the unloader sees it: all it did comes before the unload.

#include "interlock_platform/doorbell.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>
#include <cstring>

#include "interlock/options.hpp"
#include "interlock_platform/lifecycle.hpp"
#include "interlock_platform/park.hpp"
#include "interlock_platform/poller.hpp"
#include "native.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::platform {

constinit private_lock doorbell_lock;

namespace {

using entry_function = void (*)() noexcept;

struct line {
  atomic<int> chosen{0};  ///< the number; 0 if none was free
  atomic<bool> installed{false};
  atomic<entry_function> entry{nullptr};
  struct sigaction before {};  ///< what to restore; valid while installed
};

constinit line lines[doorbell_count];
constinit const char* const option_names[doorbell_count] = {"irq_signal", "nmi_signal"};

/// Handlers under way.
constinit atomic<std::int32_t> in_flight{0};

class counted_handler {
 public:
  counted_handler() noexcept { in_flight.fetch_add_relaxed(1); }
  ~counted_handler() { in_flight.fetch_sub_release(1); }  // [D5] pairs with [D6]
  counted_handler(const counted_handler&) = delete;
  counted_handler& operator=(const counted_handler&) = delete;
};

/// Its address marks our own rings.
constinit const char ring_mark = 0;

constexpr std::size_t index_of(doorbell bell) noexcept { return static_cast<std::size_t>(bell); }
constexpr std::size_t other(std::size_t index) noexcept { return 1 - index; }

void serve(int number, siginfo_t* info, void* context) noexcept {
  const counted_handler counted;
  const errno_keeper keeper;
  if (info->si_code != SI_QUEUE || info->si_value.sival_ptr != &ring_mark) return;
  line& nmi = lines[index_of(doorbell::nmi)];
  const bool is_nmi = number == nmi.chosen.load_relaxed();
  if (is_nmi) answer_stack_request(context);
  line& rung = is_nmi ? nmi : lines[index_of(doorbell::interrupt)];
  const entry_function entry = rung.entry.load_acquire();  // [D2] pairs with [D1]
  if (entry != nullptr) entry();
}

bool is_ours(const struct sigaction& action) noexcept {
  return (action.sa_flags & SA_SIGINFO) != 0 && action.sa_sigaction == serve;
}

bool is_realtime(long number) noexcept { return number >= SIGRTMIN && number <= SIGRTMAX; }

bool is_unhandled(int number) noexcept {
  struct sigaction action;
  return sigaction(number, nullptr, &action) == 0 && (action.sa_flags & SA_SIGINFO) == 0 &&
         action.sa_handler == SIG_DFL;
}

/// A signal that the caller blocks is likely meant for sigwait(3) or signalfd(2).
bool is_free(int number) noexcept {
  sigset_t mask;
  pthread_sigmask(SIG_BLOCK, nullptr, &mask);
  return is_unhandled(number) && sigismember(&mask, number) == 0;
}

/// The number that the option gives; LONG_MIN if there is none.
long option_of(std::size_t index) noexcept { return option_integer(option_names[index], LONG_MIN); }

/// The first free number from SIGRTMAX-1 downwards that is not the other line's. 0 if none is.
int find_free(std::size_t index) noexcept {
  for (int number = SIGRTMAX - 1; number >= SIGRTMIN; --number) {
    if (number == lines[other(index)].chosen.load_relaxed()) continue;
    if (number == option_of(other(index))) continue;
    if (is_free(number)) return number;
  }
  return 0;
}

result<void> claim(line& l, int number) noexcept {
  struct sigaction action {};
  action.sa_sigaction = serve;
  action.sa_flags = SA_SIGINFO | SA_RESTART | SA_NODEFER;
  sigemptyset(&action.sa_mask);
  if (!is_unhandled(number)) return error::device_or_resource_busy;
  l.chosen.store_relaxed(number);
  if (sigaction(number, &action, &l.before) != 0) return last_error();
  l.installed.store_release(true);  // [D3] pairs with [D4]
  return {};
}

/// Pre: doorbell_lock is held.
result<void> install(std::size_t index) noexcept {
  line& l = lines[index];
  if (l.installed.load_relaxed()) return {};
  if (const long wanted = option_of(index); wanted != LONG_MIN) {
    if (!is_realtime(wanted)) return error::invalid_argument;
    if (wanted == lines[other(index)].chosen.load_relaxed()) return error::device_or_resource_busy;
    return claim(l, static_cast<int>(wanted));
  }
  // Chosen at load; by now the process may handle it. Then another is taken, which the service
  // threads that run already have blocked: `doorbell_is_blocked` tells.
  int number = l.chosen.load_relaxed();
  if (number == 0 || !is_unhandled(number)) number = find_free(index);
  return number != 0 ? claim(l, number) : error::device_or_resource_busy;
}

/// Reads the mask of another thread: "SigBlk:\t%016lx" in its status. False if it has ended.
bool read_blocked_mask(std::uint32_t id, std::uint64_t& mask) noexcept {
  char path[] = "/proc/self/task/4294967295/status";
  constexpr std::size_t at = sizeof("/proc/self/task/") - 1;
  char digits[10];
  std::size_t count = 0;
  do {
    digits[count++] = static_cast<char>('0' + id % 10);
  } while ((id /= 10) != 0);
  for (std::size_t i = 0; i < count; ++i) path[at + i] = digits[count - 1 - i];
  std::memcpy(path + at + count, "/status", sizeof("/status"));

  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  char text[4096];  // the line stands within the first kilobyte
  const ssize_t size = read(fd, text, sizeof(text) - 1);
  close_fd(fd);
  if (size <= 0) return false;
  text[size] = '\0';
  const char* const line_start = std::strstr(text, "SigBlk:");
  if (line_start == nullptr) return false;
  mask = std::strtoull(line_start + sizeof("SigBlk:") - 1, nullptr, 16);
  return true;
}

void change_mask(int how) noexcept {
  sigset_t set;
  sigemptyset(&set);
  for (const line& l : lines) {
    if (const int number = l.chosen.load_relaxed(); number != 0) sigaddset(&set, number);
  }
  pthread_sigmask(how, &set, nullptr);
}

}  // namespace

void choose_doorbells() noexcept {
  for (std::size_t i = 0; i < doorbell_count; ++i) {
    const long wanted = option_of(i);
    if (wanted == LONG_MIN) {
      lines[i].chosen.store_relaxed(find_free(i));
    } else if (is_realtime(wanted)) {
      lines[i].chosen.store_relaxed(static_cast<int>(wanted));
    }
  }
}

int chosen_doorbell(doorbell bell) noexcept { return lines[index_of(bell)].chosen.load_relaxed(); }

void restore_doorbells() noexcept {
  for (line& l : lines) {
    if (!l.installed.load_relaxed()) continue;
    struct sigaction action;
    const int number = l.chosen.load_relaxed();
    if (sigaction(number, nullptr, &action) != 0 || !is_ours(action)) continue;
    l.installed.store_relaxed(false);  // nobody rings any more
    struct sigaction ignore {};
    ignore.sa_handler = SIG_IGN;
    sigaction(number, &ignore, nullptr);  // discards what is queued, on all threads
    sigaction(number, &l.before, nullptr);
  }
  while (in_flight.load_acquire() > 0) yield();  // [D6] pairs with [D5]
}

namespace {

/// Handlers of other threads are not in the child. One of the forking thread's may be: it takes the
/// count below 0, and an unload waits for one handler less.
void forget_handlers() noexcept { in_flight.store_relaxed(0); }

constinit lifecycle_hook hook{.order = hook_order::platform, .fork_child = forget_handlers};

[[gnu::constructor]] void install_hook() noexcept { add_lifecycle_hook(hook); }

}  // namespace

result<void> require_nmi() noexcept {
  const private_guard guard{doorbell_lock};
  return install(index_of(doorbell::nmi));
}

result<void> install_doorbell(doorbell bell, void (*entry)() noexcept) noexcept {
  const private_guard guard{doorbell_lock};
  line& l = lines[index_of(bell)];
  const entry_function present = l.entry.load_relaxed();
  if (present != nullptr && present != entry) return error::device_or_resource_busy;
  l.entry.store_release(entry);  // [D1] pairs with [D2]
  result<void> installed = install(index_of(bell));
  if (!installed) l.entry.store_relaxed(nullptr);
  return installed;
}

result<void> ring_doorbell(std::uint32_t id, doorbell bell) noexcept {
  const errno_keeper keeper;
  const line& l = lines[index_of(bell)];
  if (!l.installed.load_acquire()) return error::no_such_device;  // [D4] pairs with [D3]
  siginfo_t info;
  std::memset(&info, 0, sizeof(info));
  info.si_code = SI_QUEUE;
  info.si_pid = getpid();  // asked each time: a child of clone(2) has run no fork handler
  info.si_value.sival_ptr = const_cast<char*>(&ring_mark);
  const long rc = syscall(SYS_rt_tgsigqueueinfo, info.si_pid, id, l.chosen.load_relaxed(), &info);
  return rc == 0 ? result<void>{} : last_error();
}

bool doorbell_is_blocked(std::uint32_t id, doorbell bell) noexcept {
  const errno_keeper keeper;
  const int number = doorbell_signal(bell);
  if (number == 0) return false;
  struct sigaction action;
  // Somebody's handler stands in front of ours: rings are lost to all.
  if (sigaction(number, nullptr, &action) == 0 && !is_ours(action)) return true;
  if (id == kernel_thread_id()) {
    sigset_t mask;
    pthread_sigmask(SIG_BLOCK, nullptr, &mask);
    return sigismember(&mask, number) == 1;
  }
  std::uint64_t mask = 0;
  return read_blocked_mask(id, mask) && ((mask >> (number - 1)) & 1) != 0;
}

int doorbell_signal(doorbell bell) noexcept {
  const line& l = lines[index_of(bell)];
  return l.installed.load_acquire() ? l.chosen.load_relaxed() : 0;  // [D4] pairs with [D3]
}

void hold_doorbells() noexcept { change_mask(SIG_BLOCK); }

void release_doorbells() noexcept { change_mask(SIG_UNBLOCK); }

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform
