// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Compile-time contracts: Clang thread-safety attributes, empty on other compilers.
/// Source: Clang documentation, "Thread Safety Analysis".

#if defined(__clang__)
#define INTERLOCK_THREAD_ATTRIBUTE(x) __attribute__((x))
#else
#define INTERLOCK_THREAD_ATTRIBUTE(x)
#endif

/// A type that is a capability (a lock, a context).
#define INTERLOCK_CAPABILITY(name) INTERLOCK_THREAD_ATTRIBUTE(capability(name))
/// A guard that holds a capability for its scope.
#define INTERLOCK_SCOPED_CAPABILITY INTERLOCK_THREAD_ATTRIBUTE(scoped_lockable)
/// Data that may be touched only with the capability held.
#define INTERLOCK_GUARDED_BY(x) INTERLOCK_THREAD_ATTRIBUTE(guarded_by(x))
#define INTERLOCK_PT_GUARDED_BY(x) INTERLOCK_THREAD_ATTRIBUTE(pt_guarded_by(x))
/// The caller holds / must not hold the capability.
#define INTERLOCK_REQUIRES(...) INTERLOCK_THREAD_ATTRIBUTE(requires_capability(__VA_ARGS__))
#define INTERLOCK_REQUIRES_SHARED(...) \
  INTERLOCK_THREAD_ATTRIBUTE(requires_shared_capability(__VA_ARGS__))
#define INTERLOCK_EXCLUDES(...) INTERLOCK_THREAD_ATTRIBUTE(locks_excluded(__VA_ARGS__))
/// The function takes / drops the capability.
#define INTERLOCK_ACQUIRE(...) INTERLOCK_THREAD_ATTRIBUTE(acquire_capability(__VA_ARGS__))
#define INTERLOCK_ACQUIRE_SHARED(...) \
  INTERLOCK_THREAD_ATTRIBUTE(acquire_shared_capability(__VA_ARGS__))
#define INTERLOCK_RELEASE(...) INTERLOCK_THREAD_ATTRIBUTE(release_capability(__VA_ARGS__))
#define INTERLOCK_RELEASE_SHARED(...) \
  INTERLOCK_THREAD_ATTRIBUTE(release_shared_capability(__VA_ARGS__))
#define INTERLOCK_TRY_ACQUIRE(...) INTERLOCK_THREAD_ATTRIBUTE(try_acquire_capability(__VA_ARGS__))
#define INTERLOCK_ASSERT_CAPABILITY(x) INTERLOCK_THREAD_ATTRIBUTE(assert_capability(x))
/// The function's own body is not analysed; say why beside each use.
#define INTERLOCK_NO_THREAD_SAFETY_ANALYSIS INTERLOCK_THREAD_ATTRIBUTE(no_thread_safety_analysis)

/// Without optimisation too. For templates over a type that has no name: compilers call those of several translation
/// units the same, and the linker would keep one function for all.
#define INTERLOCK_ALWAYS_INLINE [[gnu::always_inline]]

/// Exported from the shared library.
#define INTERLOCK_API [[gnu::visibility("default")]]
