// SPDX-License-Identifier: Apache-2.0
#pragma once

/// The simulated machine: CPUs, the processes that run on them, and what makes one of them able to go on.
///
/// One OS thread runs all flows. A flow runs until it reaches a point (`machine::point`); there the search decides who takes the next
/// step, and the flow that is chosen goes on. So what lies between two points of a flow is one step, and whatever is not
/// instrumented is never interrupted.
///
/// A *process* takes steps: a task, or a level of a bell of a CPU (the interrupt that is being served, and those that interrupted it).
///
/// Invariants:
///   M1. Of each CPU only the topmost flow runs: interrupts stand on what they have halted.
///   M2. A process's pending operation is known before it is chosen, and nothing but the process's own steps changes it. An idle
///       interrupt level's is its delivery.
///   M3. Which process may go on depends on the steps so far only: an execution is its sequence of choices.

#include <csetjmp>
#include <cstddef>
#include <cstdint>

#include "clock.hpp"
#include "flow.hpp"
#include "locations.hpp"
#include "memory.hpp"
#include "op.hpp"
#include "oracle.hpp"
#include "storage.hpp"

struct interlock_machine_options;

namespace interlock::machine {

inline constexpr unsigned max_cpus = 8;       ///< that a user may ask for
inline constexpr unsigned max_all_cpus = 32;  ///< with those of service tasks
inline constexpr unsigned bells = 2;
inline constexpr unsigned bell_levels = 2;
inline constexpr std::size_t words_size = 64;
inline constexpr std::int64_t for_ever = INT64_MAX;

enum class preemption : std::uint8_t { none, voluntary, full };

enum class wait_kind : std::uint8_t { nothing, parked, relaxed };

/// Of hardware that a flow plays (device.cpp). What the program's hooks do at its end is not the hardware's.
enum class device_state : std::uint8_t { none, runs, at_register, ends };

/// What a process begins with is said here, and in `machine::new_process`.
struct process_state {
  enum class role : std::uint8_t { task, interrupt, buffer } kind = role::task;
  bool alive = false;  ///< has a flow (an idle interrupt level has none)
  bool ended = false;  ///< a task that has returned
  bool service = false;
  device_state device = device_state::none;
  bool woken = false;
  bool watchdog = false;  ///< its deadline passes only when nothing else can run
  bool timed_out = false;
  bool held = false;  ///< lets no interrupt in while it is on its CPU
  wait_kind waits = wait_kind::nothing;
  process_id parent = no_process;  ///< of a task
  std::uint8_t cpu = 0;
  std::uint8_t bell = 0;
  std::uint8_t level = 0;
  bool locally_fenced = false;
  bool spun_unknown = false;
  bool spun_changed = false;  ///< one of `spun` was written since
  bool watched = false;       ///< it has spun not long ago
  bool wrote = false;         ///< more than `old` says
  bool varied = false;        ///< others could see it otherwise for a while
  bool tired = false;         ///< it spins: others go first
  bool extends_step = false;  ///< it is inside of a primitive, and has taken a step there
  op pending{};
  std::int64_t until = for_ever;
  std::uint64_t word = 0;  ///< parked on
  std::uint32_t park_order = 0;
  std::uint32_t number = 0;   ///< tasks, from 1
  std::uint32_t preempt = 0;  ///< as announced
  unsigned spun_count = 0;
  std::uint32_t woken_by = 0;   ///< the step that woke it
  std::uintptr_t relax_pc = 0;  ///< where it spun last
  unsigned old_count = 0;
  unsigned patience = 0;  ///< how often it spins on before it is taken to wait
  unsigned next_repeated = 0;
  unsigned library_count = 0;
  char name[16] = {};
};

struct process : process_state {
  flow stack;
  clock seen;      ///< C++ happens-before
  clock acquired;  ///< by relaxed loads, for a fence to come
  clock released;  ///< by the last release fence
  // The same of signal fences.
  clock locally_acquired;
  clock locally_released;
  /// Dependence: for each process its last step that precedes this one's next, plus one.
  clock before;
  // The reads since the last time it spun.
  static constexpr unsigned max_spun = 8;
  footprint spun[max_spun];
  // What it has overwritten since then. If all is as it was, the next round would be the same.
  struct overwritten {
    std::uintptr_t address;
    std::uint64_t value;
    std::uint8_t size;
  };
  static constexpr unsigned max_overwritten = 8;
  overwritten old[max_overwritten];
  // The same access with the same value, again and again, is a loop that waits.
  struct repeated {
    std::uintptr_t pc;
    std::uintptr_t address;
    std::uint64_t value;
    unsigned count;
  };
  static constexpr unsigned max_repeated = 8;
  repeated seen_values[max_repeated];
  // Functions of the library, by the depth of their frames: those that are inlined have that of what they are inlined into.
  struct library_frame {
    std::uint32_t depth;
    std::uint32_t count;
  };
  static constexpr unsigned max_library_frames = 128;
  library_frame library[max_library_frames];

  template <class F>
  void each_clock(F f) noexcept {
    for (clock* c : {&seen, &acquired, &released, &locally_acquired, &locally_released, &before})
      f(*c);
  }

  /// It spins, as far as it is known: what it reads counts.
  [[nodiscard]] bool may_wait() const noexcept { return watched && !wrote; }
  /// The innermost function is one of the library.
  [[nodiscard]] bool is_in_library() const noexcept {
    return library_count != 0 && library_count <= max_library_frames &&
           library[library_count - 1].depth >= stack.depth;
  }
  void enters_library() noexcept {
    const bool from_library = library_count != 0 && library_count <= max_library_frames &&
                              library[library_count - 1].depth + 1 >= stack.depth;
    if (!from_library) extends_step = false;
    if (library_count != 0 && library_count <= max_library_frames &&
        library[library_count - 1].depth == stack.depth) {
      ++library[library_count - 1].count;
    } else {
      if (library_count < max_library_frames) library[library_count] = {stack.depth, 1};
      ++library_count;
    }
  }
  void leaves_library() noexcept {
    if (library_count == 0) return;
    if (library_count > max_library_frames || --library[library_count - 1].count == 0)
      --library_count;
    const bool to_library = library_count != 0 && library_count <= max_library_frames &&
                            library[library_count - 1].depth + 1 >= stack.depth;
    if (!to_library) extends_step = false;
  }
};

/// A place where a process has spun, and was taken to wait for a change. If it would have given up instead, what comes of that has not
/// been explored: after an exhaustive search each such place is tried once, with nobody else running.
struct spin {
  std::uintptr_t pc;
  std::size_t begin;  ///< of the choices that lead there, in `machine::spin_choices`
  std::size_t size;
};

/// "on cpu 1", or "(device)".
struct standing {
  explicit standing(const process& p) noexcept;
  char text[16];
};

/// A store that its own CPU sees, and nobody else yet (TSO).
struct buffered_store {
  std::uintptr_t address;
  std::uintptr_t pc;
  std::uint64_t value;
  clock published;  ///< what a load that reads it acquires
  clock before;     ///< dependence: what precedes it on its own CPU
  clock fenced;     ///< as of a release_record
  process_id fenced_by;
  std::uint8_t size;
};

struct cpu_state {
  static constexpr unsigned max_buffered = 8;
  std::uint8_t first_buffered = 0;  ///< of a ring in `machine::buffered`
  std::uint8_t buffered = 0;
  process_id buffer = no_process;             ///< the process that drains it
  process_id stack[bells * bell_levels + 1];  ///< interrupts, outermost first
  unsigned depth = 0;
  process_id current = no_process;  ///< the task
  bool pending[bells] = {};
  std::uint8_t must_take =
      0;  ///< bell + 1: it rang itself, the interrupt comes before its task's next step
  bool irqs_off = false;         ///< as announced
  std::uint32_t interrupts = 0;  ///< softirq, hardirq and NMI bits, as announced
  process_id level[bells][bell_levels];
};

struct cpu : cpu_state {
  clock irq_side;  ///< released when interrupts go on, and by their handlers
  clock nmi_side;  ///< the same of `hold`, and of NMIs
  clock handled;   ///< by handlers that have ended: whoever releases on this CPU comes after them
  clock raised[bells];  ///< released by who rings
  clock softirq_side;
  clock preempt_side;

  template <class F>
  void each_clock(F f) noexcept {
    for (clock* c : {&irq_side, &nmi_side, &handled, &softirq_side, &preempt_side}) f(*c);
    for (clock& c : raised) f(c);
  }
};

/// Words that the core keeps for a CPU or a task. All stand in one place, so that an access is known for one of them at once.
struct core_words {
  using words = unsigned char[words_size];
  alignas(64) words of_cpu[max_all_cpus];
  words of_idle_task[max_all_cpus];  ///< which runs when no other does
  words of_task[max_processes];
};

enum class failure_kind : std::uint8_t {
  none,
  data_race,
  deadlock,
  livelock,
  assertion,
  memory,
  rule,    ///< of oracle.hpp
  report,  ///< the core wrote one
  limit,
  endless,  ///< more steps than are allowed
  divergence,
  other,
};

class search;

class machine {
 public:
  machine() noexcept;

  // --- state that fast paths read ---
  bool running = false;  ///< a flow of an execution runs
  process_id self = 0;

  process& me() noexcept { return processes[self]; }
  /// What a release publishes into `into`: what the process has seen, and the handlers that have halted it.
  void publish(clock& into) noexcept {
    into.join(me().seen);
    if (interrupts_seen) into.join(my_cpu().handled);
    ++me().seen.at[self];
  }
  cpu& my_cpu() noexcept { return cpus[me().cpu]; }

  // --- points ---

  /// The current process is about to do `o`. Returns when it has been chosen; `o` is then recorded as its step.
  void point(const op& o) noexcept {
    me().pending = o;
    take_step();
  }
  void take_step() noexcept;
  /// A plain access (see tsan.cpp).
  void plain_access(std::uintptr_t address, std::size_t size, bool writes, bool is_volatile,
                    std::uintptr_t pc) noexcept;
  /// Accesses to it are points from now on (every_access).
  void learn_shared(std::uint64_t granule) noexcept;
  /// Before an atomic access: the point, and the checks of memory.
  void atomic_access(op_kind kind, std::uintptr_t address, std::size_t size, int order,
                     std::uintptr_t pc) noexcept;
  void atomic_loaded(std::uintptr_t address, int order) noexcept;
  void atomic_stored(std::uintptr_t address, int order) noexcept;
  void atomic_modified(std::uintptr_t address, int order) noexcept;
  /// A read-modify-write has changed the value.
  void changed(std::uintptr_t address, std::size_t size) noexcept;
  void varies() noexcept { me().varied = true; }
  void fence(int order, std::uintptr_t pc) noexcept;
  void signal_fence(int order) noexcept;
  /// TSO: true if the store waits in the CPU's buffer now.
  bool buffer_store(std::uintptr_t address, std::size_t size, std::uint64_t value, int order,
                    std::uintptr_t pc) noexcept;
  /// TSO: true if the own CPU's buffer has the newest value.
  bool forward_load(std::uintptr_t address, std::size_t size, bool acquires,
                    std::uint64_t& value) noexcept;
  /// TSO: the own CPU's buffer holds some of it; `also_whole`: or exactly it.
  bool is_buffered(std::uintptr_t address, std::size_t size, bool also_whole) noexcept {
    return tso && find_buffered(address, size, also_whole);
  }
  [[nodiscard]] bool find_buffered(std::uintptr_t address, std::size_t size,
                                   bool also_whole) noexcept;
  /// TSO: the frame below `top` ends; no store to it may be left in the buffer.
  void leaves_frame(std::uintptr_t top, std::uintptr_t pc) noexcept;
  /// The frame of `p` below `top` ends.
  static void forget_overwritten(process& p, std::uintptr_t top) noexcept;
  /// TSO: waits until the own CPU's buffer is empty.
  void drain(std::uintptr_t pc) noexcept;
  /// After an atomic access that found, or left, `value`.
  void same_value(std::uintptr_t pc, std::uintptr_t address, std::uint64_t value) noexcept;

  // --- tasks ---
  std::uint64_t spawn(void (*entry)(void*), void* argument, const char* name,
                      bool service) noexcept;
  void join(std::uint64_t task, std::uintptr_t pc) noexcept;
  // device.cpp
  std::uint64_t spawn_device(void (*entry)(void*), void* argument, const char* name) noexcept;
  void device_wait(const std::uint32_t* word, std::uint32_t expected, std::uintptr_t pc) noexcept;
  /// Fails if the current process is a device, which has nothing to do this with.
  void deny_device(const char* what) noexcept;
  int park(const std::uint32_t* word, std::uint32_t expected, std::int64_t until, bool watchdog,
           std::uintptr_t pc) noexcept;
  unsigned unpark(const std::uint32_t* word, unsigned count, std::uintptr_t pc) noexcept;
  std::int64_t read_clock() noexcept;
  void relax(std::uintptr_t pc, op_kind kind = op_kind::relax) noexcept;
  void yield(std::uintptr_t pc) noexcept;
  void might_sleep(std::uintptr_t pc) noexcept;
  bool ring(unsigned number, int bell, std::uintptr_t pc) noexcept;
  bool install(int bell, void (*entry)()) noexcept;
  void context_enter(std::uint32_t bits, std::uintptr_t pc) noexcept;
  void context_exit(std::uint32_t bits, std::uintptr_t pc) noexcept;
  void set_irqs_off(bool off, std::uintptr_t pc) noexcept;
  void hold(bool held) noexcept;
  void heavy_barrier(std::uintptr_t pc) noexcept;

  // --- locks that the machine itself knows (pthread mutexes, guards of statics) ---
  void lock(std::uint64_t object, std::uintptr_t pc) noexcept;
  bool try_lock(std::uint64_t object, std::uintptr_t pc) noexcept;
  void unlock(std::uint64_t object, std::uintptr_t pc) noexcept;

  // --- memory ---
  void* allocate(std::size_t size, std::size_t alignment, std::uintptr_t pc) noexcept;
  /// It is unmapped: what lies there later is something else.
  void memory_goes(std::uintptr_t begin, std::size_t size) noexcept;
  /// False if the block is older than the execution.
  bool release(void* block, std::uintptr_t pc) noexcept;

  // --- the search's questions ---
  [[nodiscard]] process_set enabled() noexcept;
  /// It spins, and is to go on although nothing has changed.
  [[nodiscard]] bool may_spin_on(process_id p) noexcept;
  /// TSO: an operation that waits for the CPU's store buffer.
  [[nodiscard]] bool drains(const op& o) const noexcept;
  /// More than one flow runs on the CPU, or may.
  [[nodiscard]] bool is_shared(unsigned cpu) const noexcept;
  /// `p` and `q` stand on one CPU, so that they cannot take turns at will.
  [[nodiscard]] bool same_cpu(process_id p, process_id q) const noexcept {
    return processes[p].cpu == processes[q].cpu;
  }
  /// An interrupt would be let in, were one pending.
  [[nodiscard]] bool interruptible(const cpu& c, int bell) const noexcept;
  /// `q`, of the CPU of the present process, can not go on while that waits.
  [[nodiscard]] bool shuts_out(process_id q) noexcept;
  /// After its present step `p` may be replaced by another task of its CPU.
  [[nodiscard]] bool may_be_replaced(const cpu& c) noexcept;

  /// `no_process`: the search decides.
  process_id next_of_trial(process_set enabled) noexcept;

  // --- executions (host) ---
  void run(void (*function)(void*), void* argument) noexcept;
  [[noreturn]] void fail(failure_kind kind, const char* format, ...) noexcept
      __attribute__((format(printf, 3, 4)));
  /// Ends the execution without a failure: it equals one that was run.
  [[noreturn]] void abandon() noexcept;
  void roll_back() noexcept;

  // --- state ---
  process processes[max_processes];
  unsigned process_count = 0;
  cpu cpus[max_all_cpus];
  buffered_store stores[max_cpus + 8][cpu::max_buffered];  ///< of each CPU
  unsigned cpu_count = 0;                                  ///< with those of service tasks
  unsigned user_cpus = 1;
  unsigned task_count = 0;
  unsigned user_tasks = 0;
  preemption model = preemption::full;
  bool full_granularity = false;
  bool whole_primitives = false;  ///< granularity `user`
  bool every_access = false;
  bool tso = false;
  std::uint32_t stamp = 0;
  std::uint32_t accesses = 0;  ///< ordinal of the last one
  std::uint32_t parks = 0;
  std::int64_t now = 0;
  process_id moved_clock = no_process;              ///< whose deadline has passed last
  std::uint32_t clock_moved_at = 0;                 ///< the step
  std::uint32_t clock_read_at[max_processes] = {};  ///< since then: the step, plus one
  unsigned idle_watchdogs = 0;
  process_id flushes_for = no_process;  ///< who runs while a store buffer is written out
  unsigned idle_rounds = 0;             ///< in which only time passed, for those that spin
  std::int64_t idle_since = 0;          ///< when the first watchdog of a row passed
  std::uint64_t steps = 0;
  std::uint64_t max_steps = 0;
  std::int64_t far = 0;  ///< deadlines so far away pass as watchdogs' do; 0: none
  bool approximate =
      false;               ///< in this exploration: exhaustive search may have missed an execution
  bool abandoned = false;  ///< by the search: it equals another execution
  bool learned = false;    ///< a granule turned out to be shared that had no points before
  process_id last = no_process;  ///< who took the last step

  location_table locations;
  pool<touch> touches;
  pool<access_record> records;
  pool<release_record> releases;
  heap arena;
  undo_log undo;
  program_image image;
  oracle rules;
  search* strategy = nullptr;

  pool<std::uint64_t> shared_granules;  ///< that this exploration has learned of (every_access)
  pool<spin> spins;                     ///< of this exploration
  pool<process_id> spin_choices;
  unsigned patience = 0;  ///< of this execution: a sampler lets spinners give up now and then
  bool notes_spins = false;
  enum class trial : std::uint8_t { none, leads_there, spins, gave_up } spin_trial = trial::none;
  std::uintptr_t tried_pc = 0;
  unsigned tried_rounds = 0;
  unsigned tried_steps = 0;  ///< since the last round
  process_id tried = no_process;

  failure_kind failed = failure_kind::none;
  char failure_text[8192] = {};
  std::size_t failure_size = 0;
  std::uint32_t watched_ordinal = 0;  ///< replays: capture the stack at this access
  std::uint32_t race_ordinal = 0;     ///< the earlier access of a race
  std::uintptr_t failure_stack[64] = {};
  unsigned failure_depth = 0;
  std::uintptr_t watched_stack[64] = {};
  unsigned watched_depth = 0;
  process_id watched_process = no_process;
  char console[4096] = {};
  std::size_t console_size = 0;

  void (*entries[bells])() = {};
  void (*host_entries[bells])() = {};  ///< installed outside of executions: each begins with them
  bool interrupts_seen = false;        ///< in some execution of this exploration
  bool softirqs_seen = false;          ///< the same
  void (*task_exit)() = nullptr;
  std::uint16_t shared_cpu_words = 0;  ///< one bit for each 4 bytes
  std::uint16_t shared_task_words = 0;
  flow host;
  std::jmp_buf host_jump;
  unsigned char host_cpu_words[words_size] = {};
  unsigned char host_task_words[words_size] = {};
  core_words words{};

 private:
  friend class search;

  process_id new_process(process::role role, unsigned cpu) noexcept;
  void reset_cpu(unsigned cpu) noexcept;
  [[nodiscard]] bool can_step(process& p) noexcept;
  [[nodiscard]] bool deliverable(const cpu& c, const process& p) const noexcept;
  void decide_and_switch() noexcept;
  process_id decide() noexcept;
  void become(process_id p) noexcept;
  void commit(bool extends = false) noexcept;
  void begin_interrupt(process_id p) noexcept;
  void flush(process_id buffer) noexcept;
  void serve_interrupt(process& p) noexcept;
  static void flow_main(boost::context::detail::transfer_t came);
  void find_leaks() noexcept;
  process* next_to_time_out(bool watchdogs) noexcept;
  bool pass_deadline(bool watchdogs) noexcept;
  void meet_last_deadline() noexcept;
  void clock_moved() noexcept;
  void will_wait(const op& next) noexcept;
  void check_heap(std::uintptr_t address, std::size_t size, bool writes,
                  std::uintptr_t pc) noexcept {
    if (arena.contains(address) && !arena.accessible(address, size)) [[unlikely]]
      report_heap(address, size, writes, pc);
  }
  [[noreturn]] void report_heap(std::uintptr_t address, std::size_t size, bool writes,
                                std::uintptr_t pc) noexcept;
  /// Before it is overwritten.
  void save_old(std::uintptr_t address, std::size_t size) noexcept {
    if (!arena.contains(address) && !me().stack.owns(address)) save_older(address, size);
  }
  void save_older(std::uintptr_t address, std::size_t size) noexcept;
  void check_race(std::uintptr_t address, std::size_t size, bool writes, bool atomic, bool frees,
                  std::uintptr_t pc) noexcept;
  void check_race_at(location& l, std::uint8_t bytes, std::uintptr_t address, std::size_t size,
                     bool writes, bool atomic, bool frees, std::uintptr_t pc) noexcept;
  [[noreturn]] void report_race(const access_record& old, std::uintptr_t address, std::size_t size,
                                bool writes, bool atomic, bool frees, std::uintptr_t pc) noexcept;
  release_record* release_of(std::uintptr_t address, bool make) noexcept;
  void begin_anew(location& l, std::uint64_t granule, std::uint8_t bytes) noexcept;
  void carry_fence(release_record& r, bool replaces) noexcept;
  void take_fence(process_id by, const clock& fenced) noexcept;
  [[noreturn]] void report_deadlock() noexcept;
  void before_mask(std::uintptr_t pc, bool deferring) noexcept;
  /// Words that the core keeps for its CPU or task alone.
  [[nodiscard]] bool is_bookkeeping(std::uintptr_t address) const noexcept {
    if (address - reinterpret_cast<std::uintptr_t>(this) >= sizeof *this) [[likely]]
      return false;
    const std::uintptr_t at = address - reinterpret_cast<std::uintptr_t>(&words);
    if (at >= sizeof words) return true;
    const std::uint16_t shared = at < sizeof words.of_cpu ? shared_cpu_words : shared_task_words;
    return (shared >> (at % words_size / 4) & 1) == 0;
  }
  std::uintptr_t with_callers(std::uintptr_t pc) noexcept;
  void note_spin(std::uintptr_t pc) noexcept;
  bool try_spin(std::uintptr_t pc) noexcept;
  /// Before it writes.
  void overwrites(std::uintptr_t address, std::size_t size) noexcept {
    if (me().may_wait()) note_overwritten(address, size);
  }
  void note_overwritten(std::uintptr_t address, std::size_t size) noexcept;
  static void overwrites_part(process& p, std::uintptr_t address, std::size_t size) noexcept;
  [[nodiscard]] bool unchanged(const process& p) const noexcept;
  void wake_spinners(const footprint& f) noexcept;
  [[noreturn]] void to_host() noexcept;
  unsigned capture(std::uintptr_t* into, std::uintptr_t pc) noexcept;
};

extern machine m;

}  // namespace interlock::machine
