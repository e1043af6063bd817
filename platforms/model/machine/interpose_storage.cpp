// SPDX-License-Identifier: Apache-2.0

/// What a thread owns beside its stack: the values of POSIX keys, and the destructors of its thread_local variables. In an
/// execution each flow is a thread, and what it leaves is gone with the execution.

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>

#include <bit>
#include <cstdint>
#include <cstdlib>

#include "interpose.hpp"
#include "machine.hpp"

using namespace interlock::machine;

namespace {

constexpr unsigned host_keys = 1024;  ///< PTHREAD_KEYS_MAX
constexpr unsigned own_keys = 256;    ///< those that an execution makes
constexpr unsigned all_keys = host_keys + own_keys;
constexpr unsigned destructor_rounds = 4;  ///< PTHREAD_DESTRUCTOR_ITERATIONS

using destructor = void(void*);

struct key {
  destructor* destroy;
  std::uint32_t stamp;  ///< of an execution's own: 0 if it was deleted
};
key keys[all_keys];
std::uint32_t made_in = 0;  ///< the execution that `made` counts for
unsigned made = 0;

struct value {
  void* data;
  std::uint32_t stamp;
};
value values[max_processes][all_keys];

/// The keys of which a process has, or had, a value: most have none.
struct used_keys {
  static constexpr unsigned words = all_keys / 64;
  std::uint64_t bits[words];
  std::uint32_t stamp;
};
used_keys used[max_processes];
static_assert(all_keys % 64 == 0);

value& value_of(process_id p, unsigned k) noexcept {
  value& v = values[p][k];
  if (v.stamp != m.stamp) v = {nullptr, m.stamp};
  return v;
}

void set_value(process_id p, unsigned k, void* data) noexcept {
  used_keys& u = used[p];
  if (u.stamp != m.stamp) u = {{}, m.stamp};
  u.bits[k / 64] |= std::uint64_t{1} << (k % 64);
  value_of(p, k).data = data;
}

bool known(unsigned k) noexcept {
  return k < host_keys || (k < all_keys && keys[k].stamp == m.stamp);
}

struct registration {
  destructor* destroy;
  void* object;
  process_id of;
};
pool<registration> registrations{std::size_t{1} << 16};
std::uint32_t registered_in = 0;

}  // namespace

namespace interlock::machine {

void run_thread_destructors() noexcept {
  auto& all = registrations;
  if (registered_in == m.stamp) {
    // A destructor may register another.
    for (std::size_t i = all.size(); i-- > 0;) {
      if (all[i].of != m.self || all[i].destroy == nullptr) continue;
      destructor* const destroy = all[i].destroy;
      all[i].destroy = nullptr;
      destroy(all[i].object);
      i = all.size();
    }
  }
  for (unsigned round = 0; round < destructor_rounds; ++round) {
    bool any = false;
    for (unsigned k = next_key(m.self, 0); k != no_key; k = next_key(m.self, k + 1)) {
      value& v = values[m.self][k];
      if (keys[k].destroy == nullptr) continue;
      void* const data = v.data;
      v.data = nullptr;
      any = true;
      keys[k].destroy(data);
    }
    if (!any) return;
  }
}

unsigned next_key(process_id p, unsigned from) noexcept {
  const used_keys& u = used[p];
  if (u.stamp != m.stamp) return no_key;
  for (unsigned k = from; k < all_keys; ++k) {
    const std::uint64_t left = u.bits[k / 64] >> (k % 64);
    if (left == 0) {
      k |= 63u;
      continue;
    }
    k += static_cast<unsigned>(std::countr_zero(left));
    if (values[p][k].data != nullptr && known(k)) return k;
  }
  return no_key;
}

const void* key_value(process_id p, unsigned key) noexcept { return values[p][key].data; }

}  // namespace interlock::machine

EXPORT int pthread_key_create(pthread_key_t* made_key, destructor* destroy) {
  if (!m.running) {
    const int error = REAL(pthread_key_create)(made_key, destroy);
    if (error == 0 && *made_key < host_keys) keys[*made_key] = {destroy, 0};
    return error;
  }
  if (made_in != m.stamp) {
    made_in = m.stamp;
    made = 0;
  }
  if (made == own_keys) return EAGAIN;
  const unsigned k = host_keys + made++;
  keys[k] = {destroy, m.stamp};
  m.plain_access(reinterpret_cast<std::uintptr_t>(made_key), sizeof *made_key, true, false, CALLER);
  *made_key = k;
  return 0;
}
EXPORT int pthread_key_delete(pthread_key_t k) {
  if (!m.running) {
    if (k < host_keys) keys[k].destroy = nullptr;
    return REAL(pthread_key_delete)(k);
  }
  if (k < host_keys || !known(k)) return EINVAL;
  keys[k].stamp = 0;
  return 0;
}
EXPORT void* pthread_getspecific(pthread_key_t k) {
  if (!m.running) return REAL(pthread_getspecific)(k);
  return known(k) ? value_of(m.self, k).data : nullptr;
}
EXPORT int pthread_setspecific(pthread_key_t k, const void* data) {
  if (!m.running) return REAL(pthread_setspecific)(k, data);
  if (!known(k)) return EINVAL;
  set_value(m.self, k, const_cast<void*>(data));
  return 0;
}

EXPORT int __cxa_thread_atexit(destructor* destroy, void* object, void* owner) {
  if (!m.running) {
    using function = int(destructor*, void*, void*);
    static function* cache;
    return real(cache, "__cxa_thread_atexit")(destroy, object, owner);
  }
  auto& all = registrations;
  if (registered_in != m.stamp) {
    registered_in = m.stamp;
    all.clear();
  }
  if (all.full())
    m.fail(failure_kind::limit, "too many thread_local variables with destructors in an execution");
  all.push({destroy, object, m.self});
  return 0;
}
