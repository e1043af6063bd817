// SPDX-License-Identifier: Apache-2.0

/// Stacks by the unwinder of libgcc, of this thread and, by NMI, of another; and their names.
///
/// With glibc 2.35 and gcc 12, unwinding finds its tables by _dl_find_object: no lock, no memory.
///
/// A frame is the address behind an instruction: behind a call, where it returns to, or one byte
/// into the instruction that an interrupt has stopped at. So address - 1 lies in what executes.
///
/// A request for a remote stack is one word, `id << 2 | state`:
///   idle -> asked     by the requester, which holds stack_request_lock and rings the NMI
///   asked -> writing  by the handler on thread `id`, and by none else
///   writing -> done   by the handler; the requester then reads the frames
///   asked -> idle     by the requester when it gives up; a late handler finds nothing to do
/// Ordering: [T1] publishes the frames with `done`, [T2] reads them.

#include "interlock_platform/stack_trace.hpp"

#include <dlfcn.h>
#include <link.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>
#include <unwind.h>

#include <cstring>

#include "interlock_platform/local.hpp"
#include "native.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::platform {

constinit private_lock stack_request_lock;
constinit private_lock symbolizer_lock;

namespace {

struct walk {
  void** frames;
  std::size_t capacity;
  std::size_t count;
  std::size_t skip;
};

_Unwind_Reason_Code take_frame(_Unwind_Context* context, void* argument) noexcept {
  walk& w = *static_cast<walk*>(argument);
  int is_interrupted = 0;
  const auto address = _Unwind_GetIPInfo(context, &is_interrupted);
  if (address == 0) return _URC_END_OF_STACK;
  if (w.skip > 0) {
    --w.skip;
    return _URC_NO_REASON;
  }
  if (w.count == w.capacity) return _URC_END_OF_STACK;
  w.frames[w.count++] = reinterpret_cast<void*>(is_interrupted != 0 ? address + 1 : address);
  return _URC_NO_REASON;
}

/// What a walk up the stack, down to its end, has met.
struct handler_search {
  bool found;
  bool at_end;
};

_Unwind_Reason_Code look_for_handler(_Unwind_Context* context, void* argument) noexcept {
  handler_search& search = *static_cast<handler_search*>(argument);
  int is_interrupted = 0;
  search.at_end = _Unwind_GetIPInfo(context, &is_interrupted) == 0;
  search.found = is_interrupted != 0;
  return search.found || search.at_end ? _URC_END_OF_STACK : _URC_NO_REASON;
}

// --- the stack of another thread ---

constexpr std::size_t most_remote_frames = 64;
constexpr ktime patience = std::chrono::milliseconds{100};

enum class request_state : std::uint32_t { idle, asked, writing, done };

constinit atomic<std::uint32_t> request{0};
constinit void* remote_frames[most_remote_frames];
constinit std::size_t remote_count = 0;

constexpr std::uint32_t request_word(std::uint32_t id, request_state state) noexcept {
  return id << 2 | static_cast<std::uint32_t>(state);
}

/// Where the signal stopped the thread; null where the machine is unknown to us.
void* interrupted_address([[maybe_unused]] void* signal_context) noexcept {
#if defined(__x86_64__)
  const auto* const context = static_cast<const ucontext_t*>(signal_context);
  return reinterpret_cast<void*>(context->uc_mcontext.gregs[REG_RIP] + 1);
#elif defined(__aarch64__)
  const auto* const context = static_cast<const ucontext_t*>(signal_context);
  return reinterpret_cast<void*>(context->uc_mcontext.pc + 1);
#else
  return nullptr;
#endif
}

/// Drops the frames of the handler, which lie above the interrupted function.
std::size_t drop_handler_frames(void** frames, std::size_t count, void* interrupted) noexcept {
  std::size_t first = 0;
  while (first < count && frames[first] != interrupted) ++first;
  if (first == count) return count;
  std::memmove(frames, frames + first, (count - first) * sizeof(*frames));
  return count - first;
}

/// Waits until the request is answered or the patience ends. True if the frames are there.
bool await_answer(std::uint32_t id) noexcept {
  const std::uint32_t asked = request_word(id, request_state::asked);
  const std::uint32_t done = request_word(id, request_state::done);
  const deadline until = now() + patience;
  while (request.load_relaxed() == asked) {
    if (park(request, asked, until) == park_result::timed_out) break;
  }
  std::uint32_t seen = asked;
  if (request.compare_exchange_relaxed(seen, request_word(0, request_state::idle))) return false;
  while ((seen = request.load_acquire()) != done) {  // [T2] pairs with [T1]
    park(request, seen, no_deadline);                // it is writing, which is bounded
  }
  return true;
}

// --- names ---

/// Appends text, cut to fit, always terminated.
class writer {
 public:
  writer(char* buffer, std::size_t size) noexcept : at_{buffer}, end_{buffer + size} {
    if (size > 0) *at_ = '\0';
  }
  void text(const char* t) noexcept {
    while (*t != '\0') put(*t++);
  }
  void hex(std::uintptr_t value) noexcept {
    text("0x");
    int shift = 60;
    while (shift > 0 && (value >> shift) == 0) shift -= 4;
    for (; shift >= 0; shift -= 4) put("0123456789abcdef"[(value >> shift) & 15]);
  }

 private:
  void put(char c) noexcept {
    if (end_ - at_ < 2) return;
    *at_++ = c;
    *at_ = '\0';
  }

  char* at_;
  char* end_;
};

const char* base_name(const char* path) noexcept {
  const char* const slash = std::strrchr(path, '/');
  return slash != nullptr ? slash + 1 : path;
}

/// "libfoo.so+0x1234", the address as addr2line(1) takes it. Async-signal-safe.
void describe_by_module(void* address, writer& out) noexcept {
  dl_find_object found;
  if (_dl_find_object(address, &found) != 0) {
    out.hex(reinterpret_cast<std::uintptr_t>(address));
    return;
  }
  const char* const path = found.dlfo_link_map->l_name;
  out.text(*path != '\0' ? base_name(path) : program_invocation_short_name);
  out.text("+");
  out.hex(reinterpret_cast<std::uintptr_t>(address) - found.dlfo_link_map->l_addr);
}

/// "function+0x12 [libfoo.so]", from the dynamic symbols.
bool describe_by_symbol(void* address, writer& out) noexcept {
  Dl_info info;
  if (dladdr(static_cast<char*>(address) - 1, &info) == 0 || info.dli_sname == nullptr) {
    return false;
  }
  out.text(info.dli_sname);
  out.text("+");
  out.hex(reinterpret_cast<std::uintptr_t>(address) -
          reinterpret_cast<std::uintptr_t>(info.dli_saddr));
  out.text(" [");
  out.text(base_name(info.dli_fname));
  out.text("]");
  return true;
}

}  // namespace

[[gnu::noinline]] std::size_t capture_stack(void** frames, std::size_t capacity) noexcept {
  walk w{frames, capacity, 0, 1};  // skips this function
  _Unwind_Backtrace(take_frame, &w);
  return w.count;
}

/// The kernel blocks the signal of a handler while it runs, so an empty mask answers at once. The
/// system call itself: glibc's wrapper hides the signals that it uses.
bool may_be_in_signal_handler() noexcept {
  const errno_keeper keeper;
  unsigned long blocked = ~0ul;
  syscall(SYS_rt_sigprocmask, 0, nullptr, &blocked, sizeof(blocked));
  if (blocked == 0) return false;
  handler_search search{false, false};
  _Unwind_Backtrace(look_for_handler, &search);
  return search.found || !search.at_end;
}

/// The first walk of a process initialises the unwinder's register table.
void prime_unwinder() noexcept {
  void* frame[1];
  capture_stack(frame, 1);
}

std::size_t capture_remote_stack(std::uint32_t id, void** frames, std::size_t capacity) noexcept {
  if (id == kernel_thread_id()) return capture_stack(frames, capacity);
  if (!require_nmi()) return 0;
  const private_guard guard{stack_request_lock};
  request.store_release(request_word(id, request_state::asked));  // [T3] pairs with [T4]
  const bool rung = ring_doorbell(id, doorbell::nmi).has_value();
  if (!rung) {
    // A late NMI of an earlier request may already be answering this one.
    std::uint32_t seen = request_word(id, request_state::asked);
    if (request.compare_exchange_relaxed(seen, request_word(0, request_state::idle))) return 0;
  }
  if (!await_answer(id)) return 0;
  const std::size_t count = remote_count < capacity ? remote_count : capacity;
  std::memcpy(frames, remote_frames, count * sizeof(*frames));
  request.store_relaxed(request_word(0, request_state::idle));
  return count;
}

void answer_stack_request(void* signal_context) noexcept {
  const std::uint32_t id = kernel_thread_id();
  std::uint32_t seen = request_word(id, request_state::asked);
  if (!request.compare_exchange_acquire(seen,  // [T4] pairs with [T3]
                                        request_word(id, request_state::writing))) {
    return;
  }
  const std::size_t count = capture_stack(remote_frames, most_remote_frames);
  remote_count = drop_handler_frames(remote_frames, count, interrupted_address(signal_context));
  request.store_release(request_word(id, request_state::done));  // [T1] pairs with [T2]
  unpark(request, 1);
}

void describe_address(void* address, bool may_allocate, char* buffer, std::size_t size) noexcept {
  const errno_keeper keeper;
  if (size == 0) return;
  writer out{buffer, size};
  if (may_allocate) {
    const private_guard guard{symbolizer_lock};
    if (describe_by_debug_information(address, buffer, size)) return;
    if (describe_by_symbol(address, out)) return;
  }
  describe_by_module(address, out);
}

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform
