// What other files of libvmnet need of the queues beyond libdispatch's public
// interface. References taken here are not the client's: its own releases are
// counted apart, so that one too many is noticed at once.
#ifndef LV_DISPATCH_H
#define LV_DISPATCH_H

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "../include/dispatch.h"

#define LV_QUEUE_MAGIC 0x44515545u
#define LV_SEMAPHORE_MAGIC 0x4453454du

// What every dispatch object begins with.
struct lv_object {
	uint32_t magic;
	atomic_int refs;  // ours, and one for all of the client's together
	atomic_int xrefs; // the client's
};

// lv_object_check ends the process unless object lives; with client set, unless
// the client still holds a reference.
struct lv_object *lv_object_check(const char *who, const void *object, bool client);
void lv_semaphore_destroy(dispatch_semaphore_t semaphore);
// Condition variables that wait by the monotonic clock, as lv_now_ns tells it.
void lv_cond_init(pthread_cond_t *cond);
struct timespec lv_timespec(uint64_t ns);


void lv_queue_check(const char *who, dispatch_queue_t queue);
void lv_queue_retain(dispatch_queue_t queue);
void lv_queue_release(dispatch_queue_t queue);
void lv_queue_async(dispatch_queue_t queue, void *context, dispatch_function_t work);

#endif
