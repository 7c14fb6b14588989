#define _GNU_SOURCE
#include "test.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

static int order[1000], ordered;

static void note(void *context) {
	order[ordered++] = (int)(intptr_t)context;
}

static void nothing(void *context) {
	(void)context;
}

TEST(dispatch_serial_order) {
	for (intptr_t i = 0; i < 1000; i++)
		dispatch_async_f(queue, (void *)i, note);
	dispatch_sync_f(queue, NULL, nothing);
	EQUAL(ordered, 1000);
	for (int i = 0; i < 1000; i++)
		EQUAL(order[i], i);
}

static void same_thread(void *context) {
	CHECK(pthread_equal(*(pthread_t *)context, pthread_self()));
}

TEST(dispatch_sync_on_caller) {
	pthread_t self = pthread_self();
	dispatch_sync_f(queue, &self, same_thread);
	dispatch_async_f(queue, NULL, nothing);
	dispatch_sync_f(queue, &self, same_thread);
	dispatch_sync_f(dispatch_get_global_queue(0, 0), &self, same_thread);
	__block int ran = 0;
	dispatch_sync(queue, ^{
		ran++;
	});
	EQUAL(ran, 1);
}

TEST(dispatch_sync_waits_for_earlier_work) {
	__block atomic_int before = 0;
	dispatch_queue_t other = dispatch_queue_create("other", NULL);
	for (int i = 0; i < 50; i++) {
		dispatch_async(queue, ^{
			atomic_fetch_add(&before, 1);
		});
		dispatch_async(other, ^{
			dispatch_sync(queue, ^{
				atomic_fetch_add(&before, 1);
			});
		});
	}
	dispatch_sync_f(other, NULL, nothing);
	dispatch_sync_f(queue, NULL, nothing);
	EQUAL(atomic_load(&before), 100);
	dispatch_release(other);
}

// Both pieces meet only if a concurrent queue runs them at the same time.
static void meet(dispatch_queue_t on) {
	dispatch_semaphore_t a = dispatch_semaphore_create(0), b = dispatch_semaphore_create(0), end = dispatch_semaphore_create(0);
	dispatch_async(on, ^{
		dispatch_semaphore_signal(a);
		dispatch_semaphore_wait(b, DISPATCH_TIME_FOREVER);
		dispatch_semaphore_signal(end);
	});
	dispatch_async(on, ^{
		dispatch_semaphore_wait(a, DISPATCH_TIME_FOREVER);
		dispatch_semaphore_signal(b);
		dispatch_semaphore_signal(end);
	});
	dispatch_semaphore_wait(end, DISPATCH_TIME_FOREVER);
	dispatch_semaphore_wait(end, DISPATCH_TIME_FOREVER);
	dispatch_release(a);
	dispatch_release(b);
	dispatch_release(end);
}

TEST(dispatch_concurrent) {
	dispatch_queue_t c = dispatch_queue_create("c", DISPATCH_QUEUE_CONCURRENT);
	meet(c);
	dispatch_release(c);
	meet(dispatch_get_global_queue(0, 0));
}

TEST(dispatch_global_queue) {
	dispatch_queue_t g = dispatch_get_global_queue(0, 0);
	CHECK(g != NULL && g == dispatch_get_global_queue(0x15, 0) && dispatch_get_global_queue(12345, 0) == NULL && dispatch_get_global_queue(0, 64) == NULL);
	dispatch_release(g); // as in libdispatch: without effect
	dispatch_retain(g);
	TEXT(dispatch_queue_get_label(queue), "test");
}

TEST(dispatch_released_with_work) {
	dispatch_queue_t q = dispatch_queue_create("q", NULL);
	dispatch_semaphore_t go = dispatch_semaphore_create(0), ran = dispatch_semaphore_create(0);
	for (int i = 0; i < 10; i++)
		dispatch_async(q, ^{
			dispatch_semaphore_wait(go, DISPATCH_TIME_FOREVER);
			dispatch_semaphore_signal(ran);
		});
	dispatch_release(q);
	for (int i = 0; i < 10; i++)
		dispatch_semaphore_signal(go);
	for (int i = 0; i < 10; i++)
		dispatch_semaphore_wait(ran, DISPATCH_TIME_FOREVER);
	eventually("live.queues", 1);
	dispatch_release(go);
	dispatch_release(ran);
}

TEST(dispatch_threads_leave) {
	dispatch_semaphore_t go = dispatch_semaphore_create(0);
	for (int i = 0; i < 20; i++)
		dispatch_async_f(dispatch_get_global_queue(0, 0), NULL, nothing);
	dispatch_async(dispatch_get_global_queue(0, 0), ^{
		dispatch_semaphore_wait(go, DISPATCH_TIME_FOREVER); // a thread that cannot leave before it is counted
	});
	CHECK(libvmnet_test_get("live.threads") > 0);
	dispatch_semaphore_signal(go);
	eventually("live.threads", 0);
	dispatch_release(go);
	dispatch_sync(queue, ^{
	});
	dispatch_async_f(queue, NULL, nothing); // and come again
	dispatch_sync_f(queue, NULL, nothing);
	eventually("live.threads", 0);
}

static void look_at_stack(void *context) {
	pthread_attr_t attr;
	pthread_getattr_np(pthread_self(), &attr);
	pthread_attr_getstacksize(&attr, context);
	pthread_attr_destroy(&attr);
}

TEST(dispatch_small_stacks) {
	static size_t size;
	dispatch_async_f(queue, &size, look_at_stack);
	dispatch_semaphore_t end = dispatch_semaphore_create(0);
	dispatch_async(queue, ^{
		dispatch_semaphore_signal(end);
	});
	dispatch_semaphore_wait(end, DISPATCH_TIME_FOREVER);
	dispatch_release(end);
	EQUAL(size, 512 << 10);
}

static int64_t now_ms(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

TEST(dispatch_semaphore_times) {
	CHECK(dispatch_semaphore_create(-1) == NULL);
	dispatch_semaphore_t s = dispatch_semaphore_create(1);
	EQUAL(dispatch_semaphore_wait(s, DISPATCH_TIME_NOW), 0);
	EQUAL(dispatch_semaphore_wait(s, DISPATCH_TIME_NOW), ETIMEDOUT);
	int64_t begin = now_ms();
	EQUAL(dispatch_semaphore_wait(s, dispatch_time(DISPATCH_TIME_NOW, 50000000)), ETIMEDOUT);
	CHECK(now_ms() - begin >= 49);
	// Plain nanoseconds are a moment long ago, once the machine runs for 208 s. One
	// wait of several is short enough on any machine, however busy.
	int64_t shortest = INT64_MAX;
	for (int i = 0; i < 10 && shortest >= 2000 && dispatch_time(DISPATCH_TIME_NOW, 0) > 5000000000ull; i++) {
		begin = now_ms();
		EQUAL(dispatch_semaphore_wait(s, 5000000000ull), ETIMEDOUT);
		if (now_ms() - begin < shortest)
			shortest = now_ms() - begin;
	}
	CHECK(shortest < 2000 || dispatch_time(DISPATCH_TIME_NOW, 0) <= 5000000000ull);
	EQUAL(dispatch_semaphore_signal(s), 0);
	EQUAL(dispatch_semaphore_wait(s, DISPATCH_TIME_FOREVER), 0);
	EQUAL(dispatch_semaphore_signal(s), 0);
	dispatch_release(s);
	CHECK(dispatch_time(DISPATCH_TIME_FOREVER, -5) == DISPATCH_TIME_FOREVER);
	CHECK(dispatch_time(DISPATCH_TIME_NOW, INT64_MAX) > dispatch_time(DISPATCH_TIME_NOW, 0));
	CHECK(dispatch_time(DISPATCH_TIME_NOW, -1000000000) < dispatch_time(DISPATCH_TIME_NOW, 0));
	CHECK(dispatch_time(1000, 1250) == 1030); // 125/3 ns a tick
}

ABORT(dispatch_release_null, "dispatch_release: object is NULL") { dispatch_release(NULL); }
ABORT(dispatch_over_release, "use after free") {
	dispatch_queue_t q = dispatch_queue_create("q", NULL);
	dispatch_release(q);
	dispatch_release(q);
}
ABORT(dispatch_over_release_with_work, "released too often") {
	dispatch_queue_t q = dispatch_queue_create("q", NULL);
	dispatch_async(q, ^{
		sleep(100);
	});
	dispatch_release(q);
	dispatch_release(q);
}
ABORT(dispatch_use_after_release, "used after its last release") {
	dispatch_queue_t q = dispatch_queue_create("q", NULL);
	dispatch_async(q, ^{
		sleep(100);
	});
	dispatch_release(q);
	dispatch_async_f(q, NULL, nothing);
}
ABORT(dispatch_released_during_sync, "dispatch_sync_f: object") {
	dispatch_queue_t q = dispatch_queue_create("q", NULL);
	dispatch_sync(q, ^{
		dispatch_release(q); // the wait has no reference of its own
	});
}
ABORT(dispatch_sync_deadlock, "deadlock") {
	dispatch_sync(queue, ^{
		dispatch_sync_f(queue, NULL, nothing);
	});
}
ABORT(dispatch_null_work, "work is NULL") { dispatch_async_f(queue, NULL, NULL); }
ABORT(dispatch_null_queue, "object is NULL") { dispatch_async_f(NULL, NULL, nothing); }
ABORT(dispatch_semaphore_in_use, "released while in use") {
	dispatch_semaphore_t s = dispatch_semaphore_create(1);
	dispatch_semaphore_wait(s, DISPATCH_TIME_NOW);
	dispatch_release(s);
}
ABORT(dispatch_not_a_semaphore, "is not a semaphore") { dispatch_semaphore_signal((dispatch_semaphore_t)queue); }
ABORT(dispatch_not_an_object, "is not a dispatch object") {
	static uint64_t words[8];
	dispatch_retain(words);
}
