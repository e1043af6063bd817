// SPDX-License-Identifier: Apache-2.0

/// Descriptor sets over park.
///
/// Each poller has a bell, a word that whoever changes what the waiter looks at increases first, by
/// a visible access, and unparks last:
///   waiter                                    others
///   heard = bell             [B1]             bell += 1              [B2]
///   look at watches, counts                   change a watch, or say "woken"
///   park while bell == heard                  unpark(bell)
/// Between [B2] and the change nobody runs (see platform.cpp), so a waiter that has heard the bell
/// finds the change. A count is itself visible: it is increased before [B2].
/// Ordering: signal releases, and drain and a look that finds the descriptor ready acquire: what
/// came before the signal is seen, as natively through the kernel.

#include "interlock_platform/poller.hpp"

#include "interlock_platform/machine.h"
#include "model.hpp"

namespace interlock::inline INTERLOCK_PLATFORM::platform {
namespace {

constexpr int most_pollers = 16;
constexpr int most_watches = 32;

struct watch {
  int fd;  ///< 0: free; no simulated descriptor bears it
  bool armed;
  std::uint64_t cookie;
};

struct state {
  bool open;
  bool woken;
  std::uint32_t bell;
  watch watches[most_watches];
};

constinit state pollers[most_pollers] = {};

[[gnu::constructor]] void load() noexcept { interlock_machine_put_back(pollers, sizeof pollers); }

void ring(state& s) noexcept { visible_add_release(s.bell, 1); }  // [B2] pairs with [B1]

void wake(state& s) noexcept { interlock_machine_unpark(&s.bell, 1); }

watch* find_watch(state& s, int fd) noexcept {
  for (watch& w : s.watches) {
    if (w.fd == fd) return &w;
  }
  return nullptr;
}

/// Takes what is ready, each watch once until it is armed again.
std::size_t take_ready(state& s, std::uint64_t* cookies, std::size_t capacity) noexcept {
  std::size_t count = 0;
  for (watch& w : s.watches) {
    if (count == capacity) break;
    if (w.fd == 0 || !w.armed) continue;
    const descriptor* const source = find_descriptor(w.fd, descriptor::kind::event);
    if (source == nullptr || visible_load_acquire(source->count) == 0) continue;
    if (!w.armed) continue;  // removed during the access
    w.armed = false;
    cookies[count++] = w.cookie;
  }
  return count;
}

}  // namespace

result<poller> open_poller() noexcept {
  for (int i = 0; i < most_pollers; ++i) {
    if (pollers[i].open) continue;
    pollers[i] = {};
    pollers[i].open = true;
    return poller{i};
  }
  return error::too_many_files_open;
}

void close_poller(poller& p) noexcept {
  if (p.number >= 0) pollers[p.number].open = false;
  p = {};
}

result<void> poller_add(poller& p, int fd, std::uint64_t cookie) noexcept {
  if (cookie == 0) return error::invalid_argument;
  if (fd < 0) return error::bad_file_descriptor;
  if (!is_simulated(fd)) return error::operation_not_supported;
  if (find_descriptor(fd, descriptor::kind::event) == nullptr) return error::bad_file_descriptor;
  state& s = pollers[p.number];
  ring(s);
  if (find_watch(s, fd) != nullptr) return error::file_exists;
  watch* const free = find_watch(s, 0);
  if (free == nullptr) return error::no_space_on_device;
  *free = {fd, true, cookie};
  wake(s);
  return {};
}

result<void> poller_rearm(poller& p, int fd, std::uint64_t cookie) noexcept {
  if (cookie == 0) return error::invalid_argument;
  if (fd < 0) return error::bad_file_descriptor;
  if (!is_simulated(fd)) return error::operation_not_supported;
  state& s = pollers[p.number];
  ring(s);
  watch* const w = find_watch(s, fd);
  if (w == nullptr) return error::no_such_file_or_directory;
  w->armed = true;
  w->cookie = cookie;
  wake(s);
  return {};
}

void poller_remove(poller& p, int fd) noexcept {
  if (!is_simulated(fd)) return;
  state& s = pollers[p.number];
  ring(s);
  if (watch* const w = find_watch(s, fd)) *w = {};
}

std::size_t poller_wait(poller& p, std::uint64_t* cookies, std::size_t capacity, deadline until,
                        deadline_kind kind) noexcept {
  if (capacity == 0) return 0;  // as natively
  state& s = pollers[p.number];
  while (true) {
    const std::uint32_t heard = visible_load_acquire(s.bell);  // [B1] pairs with [B2]
    const bool woken = s.woken;
    s.woken = false;
    const std::size_t count = take_ready(s, cookies, capacity);
    if (count != 0 || woken) return count;
    const int end = interlock_machine_park(&s.bell, heard, until.time_since_epoch().count(),
                                           kind == deadline_kind::watchdog);
    if (end == interlock_machine_timed_out) return 0;
  }
}

void poller_wake(poller& p) noexcept {
  state& s = pollers[p.number];
  ring(s);
  s.woken = true;
  wake(s);
}

result<int> open_event_fd() noexcept { return open_descriptor(descriptor::kind::event); }

void signal_event_fd(int fd) noexcept {
  descriptor* const source = find_descriptor(fd, descriptor::kind::event);
  if (source == nullptr) return;
  visible_add_release(source->count, 1);
  for (state& s : pollers) {
    if (!s.open || find_watch(s, fd) == nullptr) continue;
    ring(s);
    wake(s);
  }
}

bool drain_event_fd(int fd) noexcept {
  descriptor* const source = find_descriptor(fd, descriptor::kind::event);
  return source != nullptr && visible_exchange_acquire(source->count, 0) != 0;
}

}  // namespace interlock::inline INTERLOCK_PLATFORM::platform
