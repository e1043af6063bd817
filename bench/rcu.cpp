// SPDX-License-Identifier: Apache-2.0

/// What RCU costs its readers and its updaters, against its peers. The rows: rows.toml.
///
///   bench_rcu --benchmark_filter=rcu_synchronize
///
/// `bench_rcu idle NAME` and `bench_rcu flood NAME SECONDS` are what the rows rcu_idle and rcu_flood
/// start: a process of its own for each competitor, since both look at the whole of it.

#include <linux/membarrier.h>
#include <semaphore.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <thread>

#include "interlock/options.hpp"
#include "interlock/rcupdate.hpp"
#include "rcu_libcds.hpp"
#include "rcu_peers.h"
#include "suite.hpp"

namespace {

namespace il = interlock;

constexpr unsigned long deferred = 20'000;

unsigned long value = 1;
constinit il::rcu_pointer<unsigned long> interlock_pointer{&value};
const unsigned long* const plain_pointer = &value;

void nothing() {}

// --- Interlock -----------------------------------------------------------------------------------

struct object {
  il::rcu_head rcu;
  void (*freed)();
};

unsigned long interlock_read(unsigned long count, const unsigned long* const*) {
  unsigned long sum = 0;
  for (unsigned long i = 0; i < count; ++i) {
    const il::guard g{il::rcu};
    sum += *il::rcu_dereference(interlock_pointer);
  }
  return sum;
}
void interlock_read_around(void (*inside)(void*), void* argument) {
  const il::guard g{il::rcu};
  inside(argument);
}
void interlock_synchronize() { il::synchronize_rcu(); }
void interlock_expedited() { il::synchronize_rcu_expedited(); }
void free_and_tell(il::rcu_head* head) {
  auto* const o = reinterpret_cast<object*>(head);
  void (*const freed)() = o->freed;
  std::free(o);
  freed();
}
/// As the peers do it: a pointer to free() as the callback, one indirect call an object.
void interlock_defer(unsigned long count, unsigned long size, void (*freed)()) {
  for (unsigned long i = 0; i < count; ++i) {
    auto* const o = static_cast<object*>(std::malloc(size));
    o->freed = freed;
    il::call_rcu(o->rcu,
                 freed == nullptr ? [](il::rcu_head* head) { std::free(head); } : free_and_tell);
  }
}
void interlock_free(unsigned long count, unsigned long size, void (*)()) {
  for (unsigned long i = 0; i < count; ++i) {
    auto* const o = static_cast<object*>(std::malloc(size));
    o->freed = nullptr;
    il::free_rcu(o->rcu, o);
  }
}
void interlock_barrier() { il::rcu_barrier(); }

constexpr rcu_peer interlock_table(const char* name, void (*synchronize)(),
                                   void (*defer)(unsigned long, unsigned long, void (*)())) {
  return {name,
          nothing,
          nothing,
          interlock_read,
          interlock_read_around,
          synchronize,
          defer,
          interlock_barrier,
          1,
          0};
}
constexpr rcu_peer interlock_peer =
    interlock_table("interlock", interlock_synchronize, interlock_defer);
constexpr rcu_peer interlock_expedited_peer =
    interlock_table("interlock_expedited", interlock_expedited, interlock_defer);
constexpr rcu_peer interlock_free_peer =
    interlock_table("interlock", interlock_synchronize, interlock_free);

// --- the floors ----------------------------------------------------------------------------------

/// A nest count of the thread's own, up and down: what is left of a reader when whoever waits for
/// it sends the barriers. Nothing here could end a grace period.
thread_local unsigned long nest;

unsigned long floor_read(unsigned long count, const unsigned long* const* pointer) {
  unsigned long sum = 0;
  for (unsigned long i = 0; i < count; ++i) {
    nest = nest + 1;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    sum += *__atomic_load_n(pointer, __ATOMIC_ACQUIRE);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    nest = nest - 1;
    std::atomic_signal_fence(std::memory_order_seq_cst);
  }
  return sum;
}
/// The dereference alone: what is left when the reader costs nothing.
unsigned long floor_dereference(unsigned long count, const unsigned long* const* pointer) {
  unsigned long sum = 0;
  for (unsigned long i = 0; i < count; ++i) {
    sum += *__atomic_load_n(pointer, __ATOMIC_ACQUIRE);
    std::atomic_signal_fence(std::memory_order_seq_cst);
  }
  return sum;
}
/// What no reader that leaves a trace can do without: a word of the thread's own is set to what a
/// shared one says, and cleared; nothing is tested, nothing nests.
thread_local std::uint64_t trace;
alignas(64) std::atomic<std::uint64_t> newest{1};

unsigned long floor_two_stores(unsigned long count, const unsigned long* const* pointer) {
  unsigned long sum = 0;
  for (unsigned long i = 0; i < count; ++i) {
    __atomic_store_n(&trace, newest.load(std::memory_order_relaxed), __ATOMIC_RELEASE);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    sum += *__atomic_load_n(pointer, __ATOMIC_ACQUIRE);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    __atomic_store_n(&trace, 0, __ATOMIC_RELEASE);
  }
  return sum;
}
void floor_read_around(void (*inside)(void*), void* argument) { inside(argument); }

void membarrier() { syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0); }
void register_membarrier() {
  static const long done = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
  (void)done;
}
void membarrier_twice() {
  membarrier();
  membarrier();
}

/// Allocate, put on a list that other threads could put on too; at the end take the list and free.
struct listed {
  listed* next;
  void (*freed)();
};
std::atomic<listed*> floor_list{nullptr};

void floor_defer(unsigned long count, unsigned long size, void (*freed)()) {
  for (unsigned long i = 0; i < count; ++i) {
    auto* const o = static_cast<listed*>(std::malloc(size));
    o->freed = freed;
    o->next = floor_list.load(std::memory_order_relaxed);
    while (!floor_list.compare_exchange_weak(o->next, o, std::memory_order_release,
                                             std::memory_order_relaxed)) {
    }
  }
}
void floor_barrier() {
  listed* o = floor_list.exchange(nullptr, std::memory_order_acquire);
  while (o != nullptr) {
    listed* const next = o->next;
    void (*const freed)() = o->freed;
    std::free(o);
    if (freed != nullptr) freed();
    o = next;
  }
}
/// The same, freed by another thread, as it is where a thread of the library's does it.
void floor_barrier_elsewhere() { std::thread{floor_barrier}.join(); }
/// Nothing is deferred: freed at once, as a program would without readers.
void floor_defer_nothing(unsigned long count, unsigned long size, void (*freed)()) {
  floor_defer(count, size, freed);
  floor_barrier();
}

constexpr rcu_peer floor_peer{
    "floor",    register_membarrier, nothing,       floor_read, floor_read_around,
    membarrier, floor_defer,         floor_barrier, 1,          0};
constexpr rcu_peer floor_twice_peer{
    "floor_two_membarriers", register_membarrier, nothing,       floor_read, floor_read_around,
    membarrier_twice,        floor_defer,         floor_barrier, 1,          0};
constexpr rcu_peer floor_elsewhere_peer{"floor_freed_elsewhere",
                                        nothing,
                                        nothing,
                                        floor_read,
                                        floor_read_around,
                                        membarrier,
                                        floor_defer,
                                        floor_barrier_elsewhere,
                                        1,
                                        0};
constexpr rcu_peer floor_dereference_peer{"floor_dereference_alone",
                                          nothing,
                                          nothing,
                                          floor_dereference,
                                          floor_read_around,
                                          membarrier,
                                          floor_defer,
                                          floor_barrier,
                                          0,
                                          0};
constexpr rcu_peer floor_two_stores_peer{"floor_two_stores",
                                         nothing,
                                         nothing,
                                         floor_two_stores,
                                         floor_read_around,
                                         membarrier,
                                         floor_defer,
                                         floor_barrier,
                                         1,
                                         0};
constexpr rcu_peer floor_flood_peer{
    "floor", nothing, nothing, floor_read, floor_read_around, membarrier, floor_defer_nothing,
    nothing, 1,       0};

// --- readers -------------------------------------------------------------------------------------

constexpr unsigned long batch = 4000;

/// The median over batches: one that was interrupted does not count.
void read_pairs(benchmark::State& state, const rcu_peer* peer) {
  peer->enter_thread();
  suite::distribution per_pair;
  while (state.KeepRunningBatch(batch)) {
    const std::int64_t begin = suite::clock_ns();
    benchmark::DoNotOptimize(peer->read(batch, &plain_pointer));
    const std::int64_t spent = suite::clock_ns() - begin;
    per_pair.add(static_cast<double>(spent) / static_cast<double>(batch));
  }
  per_pair.report(state);
  peer->leave_thread();
}

const rcu_peer* handler_peer;
std::int64_t handler_spent;

void handle(int) {
  const std::int64_t begin = suite::clock_ns();
  benchmark::DoNotOptimize(handler_peer->read(batch, &plain_pointer));
  handler_spent = suite::clock_ns() - begin;
}

/// `known`: the thread has been a reader outside a handler, as a peer's has that is registered.
void read_in_handler(benchmark::State& state, const rcu_peer* peer, bool known) {
  peer->enter_thread();
  if (known) benchmark::DoNotOptimize(peer->read(1, &plain_pointer));
  handler_peer = peer;
  struct sigaction action = {};
  action.sa_handler = handle;
  struct sigaction before;
  sigaction(SIGUSR2, &action, &before);
  suite::distribution per_pair;
  while (state.KeepRunningBatch(batch)) {
    raise(SIGUSR2);
    state.SetIterationTime(static_cast<double>(handler_spent) * 1e-9);
    per_pair.add(static_cast<double>(handler_spent) / static_cast<double>(batch));
  }
  per_pair.report(state);
  sigaction(SIGUSR2, &before, nullptr);
  peer->leave_thread();
}

/// A thread whose first reader is in a handler: nobody could register it before.
void read_in_new_thread(benchmark::State& state, const rcu_peer* peer) {
  std::thread{[&] { read_in_handler(state, peer, false); }}.join();
}

// --- synchronize ---------------------------------------------------------------------------------

void synchronize_idle(benchmark::State& state, const rcu_peer* peer) {
  peer->enter_thread();
  peer->synchronize();
  suite::in_batches<16>(state, [&] { peer->synchronize(); });
  peer->leave_thread();
}

void synchronize_with_reader(benchmark::State& state, const rcu_peer* peer) {
  std::atomic<bool> stop{false}, reads{false};
  peer->enter_thread();
  std::thread reader{[&] {
    peer->enter_thread();
    while (!stop.load(std::memory_order_relaxed)) {
      benchmark::DoNotOptimize(peer->read(100, &plain_pointer));
      reads.store(true, std::memory_order_relaxed);
    }
    peer->leave_thread();
  }};
  while (!reads.load(std::memory_order_relaxed)) std::this_thread::yield();
  for (auto _ : state) {
    suite::distribution latency;
    suite::sample(latency, [&] { peer->synchronize(); });
    state.SetIterationTime(1e-3);
    latency.report(state);
  }
  stop.store(true, std::memory_order_relaxed);
  peer->leave_thread();  // or a flavour that counts on this thread would wait for it
  reader.join();
}

/// `slow_reader`: a ninth thread stays inside for 50 us at a time, without a gap.
void synchronize_by_eight(benchmark::State& state, const rcu_peer* peer, bool slow_reader) {
  constexpr int threads = 8;
  constexpr double seconds = 0.05;
  for (auto _ : state) {
    std::atomic<int> ready{0};
    std::atomic<bool> go{false}, stop{false}, reads{false};
    std::vector<suite::distribution> latencies(threads);
    std::vector<std::thread> callers;
    callers.reserve(threads + 1);
    peer->enter_thread();  // before all others, and away while they run
    peer->synchronize();
    peer->leave_thread();
    const std::uint64_t before = il::rcu_get_statistics().grace_periods;
    for (suite::distribution& latency : latencies) {
      callers.emplace_back([&] {
        peer->enter_thread();
        ready.fetch_add(1);
        while (!go.load(std::memory_order_acquire)) std::this_thread::yield();
        suite::sample(
            latency, [&] { peer->synchronize(); }, 1'000'000, seconds);
        peer->leave_thread();
      });
    }
    while (ready.load() != threads) std::this_thread::yield();
    std::thread reader;
    if (slow_reader) {
      reader = std::thread{[&] {
        peer->enter_thread();
        while (!stop.load(std::memory_order_relaxed)) {
          peer->read_around(
              [](void* inside) {
                static_cast<std::atomic<bool>*>(inside)->store(true, std::memory_order_relaxed);
                const std::int64_t end = suite::clock_ns() + 50'000;
                while (suite::clock_ns() < end) {
                }
              },
              &reads);
        }
        peer->leave_thread();
      }};
      while (!reads.load(std::memory_order_relaxed)) std::this_thread::yield();
    }
    const std::int64_t begin = suite::clock_ns();
    go.store(true, std::memory_order_release);
    for (std::thread& t : callers) t.join();
    const double spent = static_cast<double>(suite::clock_ns() - begin);
    stop.store(true, std::memory_order_relaxed);
    if (slow_reader) reader.join();
    suite::distribution all;
    double calls = 0;
    for (suite::distribution& latency : latencies) {
      calls += static_cast<double>(latency.size());
      all.add_all(latency);
    }
    state.SetIterationTime(spent * 1e-9);
    all.report(state);
    state.counters["calls"] = calls / (spent * 1e-9);
    if (peer->synchronize == interlock_synchronize) {
      const std::uint64_t periods = il::rcu_get_statistics().grace_periods - before;
      state.counters["calls_per_grace_period"] = calls / static_cast<double>(periods);
    }
  }
}

// --- deferral ------------------------------------------------------------------------------------

void defer(benchmark::State& state, const rcu_peer* peer) {
  peer->enter_thread();
  peer->defer(1, 64, nullptr);
  peer->barrier();
  while (state.KeepRunningBatch(deferred)) {
    peer->defer(deferred, 64, nullptr);
    peer->barrier();
  }
  peer->leave_thread();
}

std::atomic<std::int64_t> called_at;
sem_t called;

void note_call() {
  called_at.store(suite::clock_ns(), std::memory_order_relaxed);
  sem_post(&called);
}

void pause_us(long us) {
  timespec pause{0, us * 1000};
  nanosleep(&pause, nullptr);
}

void callback_latency(benchmark::State& state, const rcu_peer* peer) {
  sem_init(&called, 0, 0);
  peer->enter_thread();
  peer->defer(1, 64, nullptr);
  peer->barrier();
  peer->leave_thread();
  for (auto _ : state) {
    suite::distribution latency;
    const std::int64_t end = suite::clock_ns() + 100'000'000;
    while (latency.size() < 10 || (latency.size() < 400 && suite::clock_ns() < end)) {
      pause_us(200);
      peer->enter_thread();
      const std::int64_t begin = suite::clock_ns();
      peer->defer(1, 64, note_call);
      peer->leave_thread();  // a flavour may count on a thread that is known, and sleeps
      while (sem_wait(&called) != 0) {
      }
      latency.add(static_cast<double>(called_at.load(std::memory_order_relaxed) - begin));
    }
    state.SetIterationTime(1e-3);
    latency.report(state);
  }
}

/// The floor: a thread that sleeps is woken, and sends one barrier before it looks at the clock.
void callback_latency_floor(benchmark::State& state) {
  register_membarrier();
  sem_t work;
  sem_init(&work, 0, 0);
  sem_init(&called, 0, 0);
  std::atomic<bool> stop{false};
  std::thread worker{[&] {
    for (;;) {
      while (sem_wait(&work) != 0) {
      }
      if (stop.load()) return;
      membarrier();
      note_call();
    }
  }};
  for (auto _ : state) {
    suite::distribution latency;
    for (int i = 0; i < 200; ++i) {
      pause_us(200);
      const std::int64_t begin = suite::clock_ns();
      sem_post(&work);
      while (sem_wait(&called) != 0) {
      }
      latency.add(static_cast<double>(called_at.load(std::memory_order_relaxed) - begin));
    }
    state.SetIterationTime(1e-3);
    latency.report(state);
  }
  stop.store(true);
  sem_post(&work);
  worker.join();
}

// --- rows that look at a whole process -----------------------------------------------------------

std::vector<const rcu_peer*> peers() {
  std::vector<const rcu_peer*> all;
  for (const rcu_peer* const* p = rcu_urcu_inlined; *p != nullptr; ++p) all.push_back(*p);
  for (const rcu_peer* const* p = rcu_ck; *p != nullptr; ++p) all.push_back(*p);
  for (const rcu_peer* p : rcu_libcds()) all.push_back(p);
  return all;
}

const rcu_peer* find(const std::string& name) {
  if (name == "interlock") return &interlock_peer;
  if (name == "floor") return &floor_flood_peer;
  for (const rcu_peer* p : peers()) {
    if (p->name == name) return p;
  }
  return nullptr;
}

double process_cpu_ns() { return static_cast<double>(suite::clock_ns(CLOCK_PROCESS_CPUTIME_ID)); }

/// After one callback: what the process does while nobody wants anything. Prints the part of a CPU
/// that it takes, in percent, and how often a second one of its threads was woken.
int idle(const rcu_peer& peer) {
  peer.enter_thread();
  peer.defer(1, 64, nullptr);
  peer.barrier();
  peer.leave_thread();
  pause_us(100'000);
  rusage before, after;
  getrusage(RUSAGE_SELF, &before);
  const double cpu = process_cpu_ns();
  const std::int64_t begin = suite::clock_ns();
  pause_us(400'000);
  const double spent = static_cast<double>(suite::clock_ns() - begin);
  const double used = process_cpu_ns() - cpu;
  getrusage(RUSAGE_SELF, &after);
  // One switch is this thread's own, going to sleep.
  const double wakes = static_cast<double>(after.ru_nvcsw - before.ru_nvcsw - 1);
  std::printf("%.17g %.17g\n", 100 * used / spent, std::max(0.0, wakes) / (spent * 1e-9));
  return 0;
}

struct alignas(64) line {
  std::atomic<std::uint64_t> n{0};
};
line flood_freed;

double resident_bytes() {
  std::FILE* const file = std::fopen("/proc/self/statm", "r");
  if (file == nullptr) return 0;
  unsigned long all = 0, resident = 0;
  const int read = std::fscanf(file, "%lu %lu", &all, &resident);
  std::fclose(file);
  return read == 2 ? static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE)) : 0;
}

/// Two threads defer without end, one reader stays inside for 20 ms at a time, another enters and
/// leaves. Ends early when a GiB is in use. Prints: seconds, peak of outstanding objects, peak of
/// resident memory above the start, objects a second, the longest pair of the second reader in ns,
/// stalls.
int flood(const rcu_peer& peer, double seconds) {
  constexpr int flooders = 2;
  std::atomic<bool> stop{false};
  line queued[flooders];
  std::vector<std::thread> threads;
  threads.reserve(2 + flooders);
  std::atomic<std::int64_t> longest{0};
  peer.enter_thread();
  peer.leave_thread();
  const double resident = resident_bytes();
  threads.emplace_back([&] {
    peer.enter_thread();
    while (!stop.load(std::memory_order_relaxed)) {
      peer.read_around([](void*) { pause_us(20'000); }, nullptr);
    }
    peer.leave_thread();
  });
  threads.emplace_back([&] {
    peer.enter_thread();
    while (!stop.load(std::memory_order_relaxed)) {
      for (int i = 0; i < 1000; ++i) {
        const std::int64_t begin = suite::clock_ns();
        benchmark::DoNotOptimize(peer.read(1, &plain_pointer));
        const std::int64_t spent = suite::clock_ns() - begin;
        if (spent > longest.load(std::memory_order_relaxed)) longest.store(spent);
      }
      pause_us(100);
    }
    peer.leave_thread();
  });
  for (line& own : queued) {
    threads.emplace_back([&peer, &stop, &own] {
      peer.enter_thread();
      while (!stop.load(std::memory_order_relaxed)) {
        for (int i = 0; i < 16; ++i) {
          own.n.fetch_add(1, std::memory_order_relaxed);
          peer.defer(1, 64, [] { flood_freed.n.fetch_add(1, std::memory_order_relaxed); });
        }
      }
      peer.leave_thread();
    });
  }
  const std::int64_t begin = suite::clock_ns();
  std::uint64_t peak = 0, all = 0;
  double peak_bytes = 0, spent = 0;
  while (spent < seconds * 1e9 && peak_bytes < double{1 << 30}) {
    pause_us(500);
    const std::uint64_t freed = flood_freed.n.load(std::memory_order_relaxed);
    all = queued[0].n.load(std::memory_order_relaxed) + queued[1].n.load(std::memory_order_relaxed);
    peak = std::max(peak, all - std::min(all, freed));
    peak_bytes = std::max(peak_bytes, resident_bytes() - resident);
    spent = static_cast<double>(suite::clock_ns() - begin);
  }
  stop.store(true);
  for (std::thread& t : threads) t.join();
  std::printf("%.17g %.17g %.17g %.17g %.17g %.17g\n", spent * 1e-9, static_cast<double>(peak),
              peak_bytes, static_cast<double>(all) / (spent * 1e-9),
              static_cast<double>(longest.load()),
              static_cast<double>(il::rcu_get_statistics().stalls));
  std::fflush(stdout);
  _exit(0);  // what is still queued would take its time
}

/// The numbers that this program prints when it is started with these arguments; empty if it fails.
std::vector<double> in_child(std::vector<std::string> arguments) {
  int ends[2];
  if (pipe(ends) != 0) return {};
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_addclose(&actions, ends[0]);
  std::string self = "bench_rcu";
  std::vector<char*> argv{self.data()};
  for (std::string& a : arguments) argv.push_back(a.data());
  argv.push_back(nullptr);
  pid_t child;
  const int error = posix_spawn(&child, "/proc/self/exe", &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  std::vector<double> numbers;
  if (error == 0) {
    std::FILE* const file = fdopen(ends[0], "r");
    double n;
    while (std::fscanf(file, "%lf", &n) == 1) numbers.push_back(n);
    std::fclose(file);
    int status;
    waitpid(child, &status, 0);
    if (status != 0) numbers.clear();
  } else {
    close(ends[0]);
  }
  return numbers;
}

void idle_row(benchmark::State& state, std::string name) {
  for (auto _ : state) {
    const std::vector<double> n = in_child({"idle", name});
    state.SetIterationTime(0.5);
    if (n.size() != 2) return state.SkipWithError("the child process failed");
    state.counters["cpu_percent"] = n[0];
    state.counters["wakes"] = n[1];
  }
}

void flood_row(benchmark::State& state, std::string name) {
  const std::string seconds = suite::full_length() ? "30" : "0.5";
  for (auto _ : state) {
    const std::vector<double> n = in_child({"flood", name, seconds});
    state.SetIterationTime(0.5);
    if (n.size() != 6) return state.SkipWithError("the child process failed");
    state.counters["seconds"] = n[0];
    state.counters["peak_objects"] = n[1];
    state.counters["peak_bytes"] = n[2];
    state.counters["objects"] = n[3];
    state.counters["reader_max"] = n[4];
    state.counters["stalls"] = n[5];
    state.counters["limit"] = static_cast<double>(il::option_integer("rcu_backlog_max", 100'000));
  }
}

// --- the rows ------------------------------------------------------------------------------------

template <class Function, class... Arguments>
benchmark::internal::Benchmark* add(const char* row, const char* competitor, Function function,
                                    Arguments... arguments) {
  const std::string name = std::string{row} + '/' + competitor;
  return benchmark::RegisterBenchmark(name.c_str(), function, arguments...);
}

void add_all() {
  std::vector<const rcu_peer*> all{&interlock_peer, &floor_peer};
  for (const rcu_peer* p : peers()) all.push_back(p);

  std::vector<const rcu_peer*> reads = all;
  reads.push_back(&floor_dereference_peer);
  reads.push_back(&floor_two_stores_peer);
  for (const rcu_peer* const* p = rcu_urcu_library; *p != nullptr; ++p) reads.push_back(*p);
  for (const rcu_peer* p : reads) {
    add("rcu_read", p->name, read_pairs, p);
    add("rcu_read", p->name, read_pairs, p)->Threads(2)->Threads(8);
    if (p->reads_in_handlers != 0) {
      add("rcu_read_in_handler", p->name, read_in_handler, p, true)->UseManualTime();
    }
  }
  add("rcu_read_first_in_handler", "floor", read_in_new_thread, &floor_peer)->UseManualTime();
  add("rcu_read_first_in_handler", "interlock", read_in_new_thread, &interlock_peer)
      ->UseManualTime();
  for (const rcu_peer* p : peers()) {
    if (std::strncmp(p->name, "urcu_bp", 7) == 0) {
      add("rcu_read_first_in_handler", p->name, read_in_new_thread, p)->UseManualTime();
    }
  }

  std::vector<const rcu_peer*> synchronizers = all;
  synchronizers.push_back(&interlock_expedited_peer);
  synchronizers.push_back(&floor_twice_peer);
  for (const rcu_peer* p : synchronizers) {
    add("rcu_synchronize", p->name, synchronize_idle, p)->UseManualTime();
    add("rcu_synchronize_reader", p->name, synchronize_with_reader, p)
        ->Iterations(1)
        ->UseManualTime();
    add("rcu_synchronize_eight", p->name, synchronize_by_eight, p, false)
        ->Iterations(1)
        ->UseManualTime();
    if (p->synchronize == membarrier || p->synchronize == membarrier_twice) continue;
    add("rcu_synchronize_eight_reader", p->name, synchronize_by_eight, p, true)
        ->Iterations(1)
        ->UseManualTime();
  }

  std::vector<const rcu_peer*> deferrers;
  for (const rcu_peer* p : all) {
    if (std::strcmp(p->name, "libcds_instant") != 0) deferrers.push_back(p);  // it waits each time
  }
  deferrers.push_back(&floor_elsewhere_peer);
  for (const rcu_peer* p : deferrers) {
    add("rcu_call", p->name, defer, p)->MeasureProcessCPUTime();
    add("rcu_free", p->name, defer, p == &interlock_peer ? &interlock_free_peer : p)
        ->MeasureProcessCPUTime();
  }

  add("rcu_callback", "floor", callback_latency_floor)->Iterations(1)->UseManualTime();
  for (const rcu_peer* p : all) {
    const bool has_thread =
        p == &interlock_peer || std::strncmp(p->name, "urcu_", sizeof "urcu_" - 1) == 0;
    if (has_thread) {
      add("rcu_callback", p->name, callback_latency, p)->Iterations(1)->UseManualTime();
      add("rcu_idle", p->name, idle_row, std::string{p->name})->Iterations(1)->UseManualTime();
    }
    if (std::strcmp(p->name, "libcds_instant") != 0) {
      add("rcu_flood", p->name, flood_row, std::string{p->name})->Iterations(1)->UseManualTime();
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc >= 3 && (std::strcmp(argv[1], "idle") == 0 || std::strcmp(argv[1], "flood") == 0)) {
    const rcu_peer* const peer = find(argv[2]);
    if (peer == nullptr) return 1;
    return argv[1][0] == 'i' ? idle(*peer) : flood(*peer, argc > 3 ? std::atof(argv[3]) : 1);
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  add_all();
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
