// SPDX-License-Identifier: Apache-2.0

/// Calls to other CPUs. A request lives in counted memory, so that its caller may give up.
///
/// A request's states, and what follows them:
/// - queued: not begun. Then running, cancelled or gone.
/// - running: the target runs the function. Then done.
/// - done: it has returned.
/// - gone: the target ended before it began.
/// - cancelled: the caller gave up; the target will only drop its reference.
///
/// Ordering: [B1] the target stores the end (release), [B2] the caller reads it (acquire).
///           [B3] queued -> running and queued -> cancelled are read-modify-writes: one wins.
///           [B4] end, then parked?   [B5] parked, then the end?   seq_cst: not both miss.
/// A thread that ends before it began gives the state "gone" from its exit hook, so nobody waits
/// for one that is not there.

#include "interlock/smp.hpp"

#include <algorithm>
#include <cstdlib>
#include <new>

#include "interlock/might_sleep.hpp"
#include "interlock_platform/doorbell.hpp"
#include "interlock_platform/local.hpp"
#include "interlock_platform/park.hpp"
#include "irq/descriptor.hpp"

namespace interlock::inline INTERLOCK_PLATFORM {
namespace {

constexpr std::uint32_t state_queued = 0, state_running = 1, state_done = 2, state_gone = 3,
                        state_cancelled = 4;
constexpr std::uint32_t spins_max = std::min<std::uint32_t>(2000, platform::pauses_max);
constexpr ktime check_interval = std::chrono::milliseconds{100};

struct call_request {
  detail::cpu_node node;
  rcu_head rcu;
  refcount references;
  atomic<std::uint32_t> state{state_queued};
  atomic<std::uint32_t> parked{0};  ///< the caller may sleep on `state`
  void (*function)(void*) = nullptr;
  void* argument = nullptr;
  detail::cpu_descriptor* target = nullptr;  ///< the caller's reference
  bool nmi = false;
};

/// A handler may not call free(), and an NMI may not even use RCU: it leaves the rest to the next
/// interrupt of its CPU.
void put_from_target(call_request& request) noexcept {
  if (!request.references.put()) return;
  if (!in_nmi()) {
    free_rcu(request.rcu, &request);
    return;
  }
  request.node.run = [](detail::cpu_node& node, bool) noexcept {
    call_request& last = *INTERLOCK_CONTAINER_OF(&node, call_request, node);
    free_rcu(last.rcu, &last);
  };
  detail::post_here(request.node);
}

void end_call(call_request& request, std::uint32_t end) noexcept {
  request.state.store_seq_cst(end);  // [B1] pairs with [B2]; [B4] with [B5]
  if (request.parked.load_seq_cst() != 0) platform::unpark(request.state, 1);
}

void serve_call(detail::cpu_node& node, bool gone) noexcept {
  call_request& request = *INTERLOCK_CONTAINER_OF(&node, call_request, node);
  std::uint32_t seen = state_queued;
  if (request.state.compare_exchange_acq_rel(seen, state_running)) {  // [B3]
    if (!gone) request.function(request.argument);
    end_call(request, gone ? state_gone : state_done);
  }
  put_from_target(request);
}

/// Null without memory. Takes a reference to the target.
call_request* make_request(detail::cpu_descriptor& target, void (*function)(void*), void* argument,
                           bool nmi) noexcept {
  void* const memory = std::malloc(sizeof(call_request));
  if (memory == nullptr) return nullptr;
  auto* const request = new (memory) call_request;
  request->node.run = serve_call;
  request->function = function;
  request->argument = argument;
  request->target = &target;
  request->nmi = nmi;
  detail::get_cpu_descriptor(target);
  return request;
}

void put_from_caller(call_request* request) noexcept {
  detail::put_cpu_descriptor(*request->target);
  if (request->references.put()) std::free(request);
}

void send(call_request& request) noexcept {
  request.references.get();  // the target's
  const bool posted = request.nmi ? detail::post_nmi(*request.target, request.node)
                                  : detail::post(*request.target, request.node);
  if (posted) return;
  request.state.store_relaxed(state_gone);
  (void)request.references.put();
}

bool has_ended(std::uint32_t state) noexcept { return state >= state_done; }

/// No answer for a while. Gives up on a CPU that cannot be interrupted, else rings again.
void check_target(call_request& request) noexcept {
  const auto bell = request.nmi ? platform::doorbell::nmi : platform::doorbell::interrupt;
  if (!request.target->is_service || request.nmi) {
    if (platform::doorbell_is_blocked(request.target->id, bell)) {
      std::uint32_t seen = state_queued;
      (void)request.state.compare_exchange_acq_rel(seen, state_cancelled);  // [B3]
      return;
    }
  }
  detail::ring_again(*request.target, request.nmi);
}

std::uint32_t spin_for_end(const call_request& request) noexcept {
  if (platform::online_processors() == 1) return request.state.load_acquire();  // [B2]
  for (std::uint32_t i = 0; i < spins_max; ++i) {
    const std::uint32_t state = request.state.load_acquire();  // [B2] pairs with [B1]
    if (has_ended(state)) return state;
    platform::cpu_relax();
  }
  return request.state.load_acquire();  // [B2] pairs with [B1]
}

/// Waits for the end of `request` and drops it.
result<void> finish(call_request* request) noexcept {
  std::uint32_t state = spin_for_end(*request);
  if (!has_ended(state)) request->parked.store_seq_cst(1);     // [B5] pairs with [B4]
  while (!has_ended(state = request->state.load_seq_cst())) {  // [B2] pairs with [B1]; [B5], [B4]
    const deadline until = platform::now() + check_interval;
    const platform::park_result end =
        platform::park(request->state, state, until, platform::park_scope::process,
                       platform::deadline_kind::watchdog);
    if (end == platform::park_result::timed_out) check_target(*request);
  }
  put_from_caller(request);
  if (state == state_gone) return error::no_such_process;
  if (state == state_cancelled) return error::operation_not_permitted;
  return {};
}

result<void> call_one(cpu_id cpu, void (*function)(void*), void* argument, bool nmi) noexcept {
  rcu_read_lock();
  detail::cpu_descriptor* target = detail::find_cpu(cpu);
  if (target != nullptr && !target->references.get_unless_zero()) target = nullptr;
  rcu_read_unlock();
  if (target == nullptr) return error::no_such_process;
  call_request* const request = make_request(*target, function, argument, nmi);
  detail::put_cpu_descriptor(*target);
  if (request == nullptr) return error::not_enough_memory;
  send(*request);
  return finish(request);
}

/// Targets of on_each_cpu; as many as there were when counted, and some that may have come since.
struct target_list {
  detail::cpu_descriptor** cpus;
  std::size_t count;
};

std::size_t count_cpus() noexcept {
  guard g{rcu};
  std::size_t count = 0;
  for (auto* cpu = detail::first_cpu(); cpu != nullptr; cpu = rcu_dereference(cpu->next)) ++count;
  return count;
}

/// All online CPUs but the caller's, each with a reference. `cpus` null: no memory.
target_list collect_cpus() noexcept {
  constexpr std::size_t slack = 8;
  const std::size_t capacity = count_cpus() + slack;
  auto** const cpus = static_cast<detail::cpu_descriptor**>(
      std::malloc(capacity * sizeof(detail::cpu_descriptor*)));
  if (cpus == nullptr) return {nullptr, 0};
  std::size_t count = 0;
  guard g{rcu};
  for (auto* cpu = detail::first_cpu(); cpu != nullptr && count < capacity;
       cpu = rcu_dereference(cpu->next)) {
    if (cpu == detail::this_descriptor() || !cpu->references.get_unless_zero()) continue;
    cpus[count++] = cpu;
  }
  return {cpus, count};
}

}  // namespace

result<void> smp_call_function_single(cpu_id cpu, void (*function)(void*), void* argument,
                                      location where) noexcept {
  might_sleep(where);
  if (cpu != smp_processor_id()) return call_one(cpu, function, argument, false);
  if (detail::this_descriptor() == nullptr) return error::no_such_process;
  detail::run_as_interrupt(function, argument);
  return {};
}

result<void> on_each_cpu(void (*function)(void*), void* argument, location where) noexcept {
  might_sleep(where);
  const target_list targets = collect_cpus();
  if (targets.cpus == nullptr) return error::not_enough_memory;
  static_assert(sizeof(call_request*) == sizeof(detail::cpu_descriptor*));
  error worst{};
  // All are sent before any is waited for. A target's slot then holds its request.
  auto** const requests = reinterpret_cast<call_request**>(targets.cpus);
  for (std::size_t i = 0; i < targets.count; ++i) {
    detail::cpu_descriptor* const cpu = targets.cpus[i];
    requests[i] = make_request(*cpu, function, argument, false);
    detail::put_cpu_descriptor(*cpu);
    if (requests[i] != nullptr) {
      send(*requests[i]);
    } else {
      worst = error::not_enough_memory;
    }
  }
  if (detail::this_descriptor() != nullptr) detail::run_as_interrupt(function, argument);
  for (std::size_t i = 0; i < targets.count; ++i) {
    if (requests[i] == nullptr) continue;
    const result<void> end = finish(requests[i]);
    if (!end && end.error() != error::no_such_process) worst = end.error();
  }
  std::free(targets.cpus);
  return worst == error{} ? result<void>{} : result<void>{worst};
}

result<void> nmi_call_function_single(cpu_id cpu, void (*function)(void*), void* argument,
                                      location where) noexcept {
  INTERLOCK_TRY(platform::install_doorbell(platform::doorbell::nmi, detail::nmi_entry));
  if (cpu != smp_processor_id()) {
    might_sleep(where);
    return call_one(cpu, function, argument, true);
  }
  if (detail::this_descriptor() == nullptr) return error::no_such_process;
  detail::run_as_nmi(function, argument);
  return {};
}

}  // namespace interlock::inline INTERLOCK_PLATFORM
