// SPDX-License-Identifier: Apache-2.0

/// What a thread owns beside its stack: the values of POSIX keys, and the destructors of its thread_local variables. In an
/// execution each flow is a thread, and what it leaves is gone with the execution.

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>

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

value& value_of(process_id p, unsigned k) noexcept {
  value& v = values[p][k];
  if (v.stamp != m.stamp) v = {nullptr, m.stamp};
  return v;
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
    for (unsigned k = 0; k < all_keys; ++k) {
      value& v = values[m.self][k];
      if (v.stamp != m.stamp || v.data == nullptr || keys[k].destroy == nullptr || !known(k))
        continue;
      void* const data = v.data;
      v.data = nullptr;
      any = true;
      keys[k].destroy(data);
    }
    if (!any) return;
  }
}

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
  value_of(m.self, k).data = const_cast<void*>(data);
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
