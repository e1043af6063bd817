// SPDX-License-Identifier: Apache-2.0
#pragma once

/* What the simulated machine (a shared object of its own) offers to the model platform and to <interlock/model/...>.
 * C, so that the machine and the program under test share no C++ object.
 *
 * Words: a *flow* is a stack of the machine: a task, or an interrupt that halted what ran on its CPU. An *execution* is one run of the function
 * under test. Outside of one there is a single task, the host, on CPU 0; then nothing is recorded, and nothing may block.
 * Unless said otherwise a call is allowed in any flow, is a scheduling point, and orders nothing beyond what it says. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INTERLOCK_MACHINE_API __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

/* --- the current flow: no scheduling points --- */

/* Two blocks of 64 zeroed bytes each, per CPU and per task: `cpu_words`, `task_words`. Accesses to them are bookkeeping: they are neither
 * points nor checked for races. An interrupt sees its CPU's block, and that of the task it halted. */
INTERLOCK_MACHINE_API void* interlock_machine_cpu_words(void);
INTERLOCK_MACHINE_API void* interlock_machine_task_words(void);
/* Which parts of the blocks other CPUs use too, one bit for each 4 bytes: accesses to these are as any others. */
INTERLOCK_MACHINE_API void interlock_machine_share_words(uint16_t of_cpu, uint16_t of_task);
/* The numbers of both, from 1; the host's are 1 and 1, as are those of the first task of an execution. */
INTERLOCK_MACHINE_API uint32_t interlock_machine_cpu(void);
INTERLOCK_MACHINE_API uint32_t interlock_machine_task(void);
INTERLOCK_MACHINE_API const char* interlock_machine_task_name(void);
INTERLOCK_MACHINE_API bool interlock_machine_in_execution(void);
INTERLOCK_MACHINE_API unsigned interlock_machine_cpus(void);

/* --- tasks --- */

/* A new task, on the next CPU in turn; on one of its own if `service`.
 * Too many tasks: the execution fails. */
INTERLOCK_MACHINE_API uint64_t interlock_machine_spawn(void (*entry)(void*), void* argument,
                                                       const char* name, bool service);
INTERLOCK_MACHINE_API void interlock_machine_join(uint64_t task);
/* A device: hardware that `entry(argument)` plays. It takes steps whatever the CPUs have masked, and nothing interrupts it. It has memory
 * and interrupt lines: where it locks, sleeps otherwise than below, starts or joins a task, the execution fails. An execution does not
 * wait for its end. Joined as a task is. */
INTERLOCK_MACHINE_API uint64_t interlock_machine_spawn_device(void (*entry)(void*), void* argument,
                                                              const char* name);
/* In a device only: sleeps while *word == expected, until an unpark of it. Synchronises with nothing: what reads the word does. */
INTERLOCK_MACHINE_API void interlock_machine_device_wait(const uint32_t* word, uint32_t expected);
/* Called in each task, after its entry has returned. */
INTERLOCK_MACHINE_API void interlock_machine_at_task_exit(void (*hook)(void));

/* --- blocking --- */

enum {
  interlock_machine_woken = 0,
  interlock_machine_value_changed = 1,
  interlock_machine_timed_out = 2
};
/* Blocks while *word == expected. `until` in ns of `interlock_machine_now`; INT64_MAX: for ever. `when_idle`: the deadline passes only when nothing else
 * can run. Never wakes spuriously. Orders nothing: what the waker wrote is acquired from the word. */
INTERLOCK_MACHINE_API int interlock_machine_park(const uint32_t* word, uint32_t expected,
                                                 int64_t until, bool when_idle);
INTERLOCK_MACHINE_API unsigned interlock_machine_unpark(const uint32_t* word, unsigned count);
/* The caller spins: it goes on after another flow has written what it read, or anything if that is unknown. */
INTERLOCK_MACHINE_API void interlock_machine_relax(void);
/* The caller offers its CPU to other tasks (cond_resched, sched_yield). */
INTERLOCK_MACHINE_API void interlock_machine_yield(void);
INTERLOCK_MACHINE_API int64_t interlock_machine_now(void);

/* A full barrier on every CPU. */
INTERLOCK_MACHINE_API void interlock_machine_heavy_barrier(void);

/* --- interrupts --- */

enum { interlock_machine_irq = 0, interlock_machine_nmi = 1, interlock_machine_bells = 2 };
/* Returns false if another entry is installed. */
INTERLOCK_MACHINE_API bool interlock_machine_install(int bell, void (*entry)(void));
/* `entry` will run on the CPU; synchronises with it. On the own CPU it has run before this returns, unless held. False: no such CPU, nothing
 * installed, or no execution: outside of one nothing is rung. */
INTERLOCK_MACHINE_API bool interlock_machine_ring(uint32_t cpu, int bell);
/* The CPU's own switch, below all masks of the core; does not nest. */
INTERLOCK_MACHINE_API void interlock_machine_hold(bool held);

/* --- what the core announces; no point unless said. Before it masks, after it has unmasked: the first of nested ones is a point. --- */

enum interlock_machine_event {
  interlock_machine_irqs_off, /* of the current CPU */
  interlock_machine_irqs_on,
  interlock_machine_context_enter, /* a: bits of preempt_count */
  interlock_machine_context_exit,
  interlock_machine_lock_acquire,  /* a: lock, b: mode << 1 | try */
  interlock_machine_lock_acquired, /* a: lock */
  interlock_machine_lock_release,  /* a: lock */
  interlock_machine_rcu_enter,
  interlock_machine_rcu_exit,
  interlock_machine_rcu_gp_begin, /* a: sequence */
  interlock_machine_rcu_gp_end,
  interlock_machine_rcu_wait_begin, /* of the caller, for a grace period */
  interlock_machine_rcu_wait_end,
  interlock_machine_rcu_queued,      /* a: head */
  interlock_machine_rcu_invoked,     /* a: head */
  interlock_machine_rcu_dereference, /* a: pointer */
  interlock_machine_fence_init,      /* a: fence, b: context, c: seqno */
  interlock_machine_fence_enable,    /* a: fence */
  interlock_machine_fence_answered,  /* its provider was asked, and says that it is done */
  interlock_machine_fence_signaled,
  interlock_machine_fence_wait_start,
  interlock_machine_fence_wait_end,
  interlock_machine_fence_destroy,
  interlock_machine_signalling_begin,
  interlock_machine_signalling_end,
  interlock_machine_might_sleep, /* a point of the model `voluntary` */
};
INTERLOCK_MACHINE_API void interlock_machine_announce(enum interlock_machine_event event,
                                                      uint64_t a, uint64_t b, uint64_t c);

/* A lock begins. Its class is its declaration: `key` and `part` (of a larger primitive, or null), at `file` and `line`, as the translation
 * unit `unit` has it. What was learned of the class in this execution holds of the lock. Texts have static storage. No point. */
INTERLOCK_MACHINE_API void interlock_machine_lock_init(const void* lock, const void* key,
                                                       const void* unit, const char* file, int line,
                                                       const char* part);
/* Its class is what stands at `key`, called `name`, or null. */
INTERLOCK_MACHINE_API void interlock_machine_lock_class(const void* lock, const void* key,
                                                        const char* name);

/* Memory that code writes which is not instrumented: it is put back after each execution, as a whole. For
 * static objects; at most 16. */
INTERLOCK_MACHINE_API void interlock_machine_put_back(void* memory, size_t size);

/* --- failures --- */

/* Ends the execution as failed, with this text; its first line names the failure. Outside of an execution: writes it and aborts. */
INTERLOCK_MACHINE_API __attribute__((noreturn)) void interlock_machine_fail(const char* text);
/* Text of a report. In an execution it is collected, and the execution fails when its present step ends. */
INTERLOCK_MACHINE_API void interlock_machine_console(const char* text, size_t size);
/* Return addresses of the caller, innermost first. */
INTERLOCK_MACHINE_API size_t interlock_machine_stack(void** frames, size_t capacity);
/* "function (file:line)", for a return address; always terminated. */
INTERLOCK_MACHINE_API void interlock_machine_describe(const void* address, char* buffer,
                                                      size_t size);

/* --- exploring --- */

struct interlock_machine_options {
  unsigned cpus;        /* 1 to 8 */
  unsigned preemption;  /* 0 none, 1 voluntary, 2 full */
  unsigned granularity; /* 0 library, 1 full, 2 user */
  unsigned memory;      /* 0 sequentially consistent, 1 TSO: store buffers of atomics */
  unsigned points;      /* 0 synchronisation only, 1 every access */
  unsigned
      strategy; /* 0 portfolio, 1 exhaustive, 2 enumerate (no reduction), 3 random, 4 pct, 5 pos, 6 urw, 7 samplers */
  unsigned pct_depth; /* bugs of this depth are looked for by pct */
  uint64_t seed;
  uint64_t executions;  /* at most; 0: no limit */
  uint64_t nanoseconds; /* at most; 0: no limit */
  uint64_t steps;       /* of one execution, at most; 0: 20 000 */
  uint64_t far; /* ns: a deadline that far away passes only when nothing else can go on; 0: none */
  const char* replay; /* a token: that execution alone */
  void (*state)(
      void* argument,
      void*
          context); /* called at the end of each complete execution, in the host of the process that ran it: to collect final states */
  void* state_context;
  unsigned
      processes; /* an exhaustive search is divided among so many, 1 to 64; 0: 1. The others are forked */
  const char*
      name; /* in what is written of it; null: as `interlock_machine_name_explorations` says, else its number */
};

struct interlock_machine_result {
  bool failed;
  bool complete; /* every execution within the bounds was run */
  uint64_t executions;
  uint64_t blocked; /* of them: cut short because they equal others */
  uint64_t steps;
  uint64_t nanoseconds;
  char* text;    /* the report of the failure, or why nothing ran; freed by ..._result_free */
  char* token;   /* replays it */
  char* command; /* the line of a shell that does */
};

/* Who knows the names of explorations that have none of their own: called in the host, may return null. */
INTERLOCK_MACHINE_API void interlock_machine_name_explorations(const char* (*name)(void));

/* Runs `function(argument)` as the first task of each execution. Not reentrant. Context: the host.
 * INTERLOCK_EXPLORE goes before the options; INTERLOCK_EXPLORE_LOG, _HTML, _STEPS, _PROGRESS: see docs/model.md; _LIST and _SHARE are the tool's:
 * platforms/model/machine/settings.hpp. */
INTERLOCK_MACHINE_API void interlock_machine_explore(
    const struct interlock_machine_options* options, void (*function)(void*), void* argument,
    struct interlock_machine_result* result);
INTERLOCK_MACHINE_API void interlock_machine_result_free(struct interlock_machine_result* result);

#ifdef __cplusplus
}
#endif
