// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What the module second_copy_static exports.

#define SECOND_COPY_EXPORT [[gnu::visibility("default")]]

/// Takes an interrupt on the calling thread and frees an object through RCU, all in this copy.
/// Returns the doorbell signal that the copy uses, or -errno.
extern "C" SECOND_COPY_EXPORT int second_copy_run();
/// Arms a timer, which starts the copy's service CPU, and leaves it armed: 0, or -errno.
extern "C" SECOND_COPY_EXPORT int second_copy_start_timer();
extern "C" SECOND_COPY_EXPORT int second_copy_interrupts();
extern "C" SECOND_COPY_EXPORT void second_copy_read(void (*inside)(void*), void* argument);
extern "C" SECOND_COPY_EXPORT void second_copy_shutdown();
