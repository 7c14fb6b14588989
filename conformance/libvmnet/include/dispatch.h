// The part of libdispatch that a client of vmnet.framework needs (man
// pages dispatch(3)). Form of the availability comments: see block.h.
#ifndef LIBVMNET_DISPATCH_H
#define LIBVMNET_DISPATCH_H

#include <stdbool.h>
#include <stdint.h>

typedef void *dispatch_object_t;
typedef struct dispatch_queue_s *dispatch_queue_t;
typedef dispatch_queue_t dispatch_queue_global_t;
typedef struct dispatch_queue_attr_s *dispatch_queue_attr_t;
typedef struct dispatch_semaphore_s *dispatch_semaphore_t;
typedef uint64_t dispatch_time_t;
typedef void (*dispatch_function_t)(void *context);

// DISPATCH_TIME values between the two ends are ticks of a clock, 125/3 ns
// each as on Apple silicon, and never plain nanoseconds.
#define DISPATCH_TIME_NOW (0ull) /* macos 10.10 */
#define DISPATCH_TIME_FOREVER (~0ull) /* macos 10.10 */

#pragma GCC visibility push(default)

struct dispatch_queue_attr_s {
	uint64_t concurrent;
};
extern struct dispatch_queue_attr_s _dispatch_queue_attr_concurrent; /* macos 10.10 extra */
#define DISPATCH_QUEUE_SERIAL ((dispatch_queue_attr_t)0)
#define DISPATCH_QUEUE_CONCURRENT (&_dispatch_queue_attr_concurrent)

dispatch_queue_t dispatch_queue_create(const char *label, dispatch_queue_attr_t attr); /* macos 10.10 */
dispatch_queue_global_t dispatch_get_global_queue(intptr_t identifier, uintptr_t flags); /* macos 10.10 */
const char *dispatch_queue_get_label(dispatch_queue_t queue); /* macos 10.10 extra */
void dispatch_retain(dispatch_object_t object); /* macos 10.10 */
void dispatch_release(dispatch_object_t object); /* macos 10.10 */
void dispatch_async_f(dispatch_queue_t queue, void *context, dispatch_function_t work); /* macos 10.10 */
void dispatch_sync_f(dispatch_queue_t queue, void *context, dispatch_function_t work); /* macos 10.10 */
dispatch_semaphore_t dispatch_semaphore_create(intptr_t value); /* macos 10.10 */
intptr_t dispatch_semaphore_wait(dispatch_semaphore_t semaphore, dispatch_time_t timeout); /* macos 10.10 */
intptr_t dispatch_semaphore_signal(dispatch_semaphore_t semaphore); /* macos 10.10 */
dispatch_time_t dispatch_time(dispatch_time_t when, int64_t delta); /* macos 10.10 */
#ifdef __BLOCKS__
typedef void (^dispatch_block_t)(void);
void dispatch_async(dispatch_queue_t queue, dispatch_block_t block); /* macos 10.10 extra */
void dispatch_sync(dispatch_queue_t queue, dispatch_block_t block); /* macos 10.10 extra */
#endif

#pragma GCC visibility pop

#endif
