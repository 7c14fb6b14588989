// Queues that behave as libdispatch's: work runs on threads of a common pool,
// which come when there is work, have stacks of 512 KiB as on macOS, and leave
// after 200 ms without any. A serial queue runs one piece at a time, in order,
// on whatever thread; dispatch_sync runs its piece on the caller's thread.
#define _GNU_SOURCE
#include "dispatch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base.h"
#include "block.h"

#define MAX_THREADS 64
#define IDLE_NS 200000000
#define STACK_SIZE (512 << 10)
#define DRAIN 64 // pieces of one serial queue before others get their turn

struct dispatch_queue_attr_s _dispatch_queue_attr_concurrent = {1};

struct waiter {
	pthread_cond_t granted;
	bool go;
};

struct item {
	struct item *next;
	dispatch_function_t work;
	void *context;
	struct waiter *waiter; // dispatch_sync: the caller waits for its turn
};

struct dispatch_queue_s {
	struct lv_object h;
	char label[64];
	bool concurrent, global;
	pthread_mutex_t mu; // guards the fields below; taken before pool_mu
	struct item *head, *tail;
	int running;    // serial: 1 while somebody has the turn
	bool scheduled; // in the pool's list
	struct dispatch_queue_s *next_ready;
};

// Frames of queues whose work this thread is running, innermost first.
struct turn {
	dispatch_queue_t queue;
	struct turn *outer;
};
static __thread struct turn *turns;

static pthread_mutex_t pool_mu = PTHREAD_MUTEX_INITIALIZER; // guards all following
static pthread_cond_t pool_cond;
static dispatch_queue_t ready_head, ready_tail;
static int ready, threads, idle;
static pthread_once_t pool_once = PTHREAD_ONCE_INIT;

static struct dispatch_queue_s global_queue = {
	.h = {LV_QUEUE_MAGIC, 1, 1}, .label = "com.apple.root.default-qos", .concurrent = true, .global = true, .mu = PTHREAD_MUTEX_INITIALIZER};

void lv_cond_init(pthread_cond_t *cond) {
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}

struct timespec lv_timespec(uint64_t ns) {
	return (struct timespec){(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
}

static void pool_init(void) {
	lv_cond_init(&pool_cond);
}

struct lv_object *lv_object_check(const char *who, const void *object, bool client) {
	struct lv_object *h = (struct lv_object *)(uintptr_t)object;
	if (h == NULL)
		lv_die("%s: object is NULL", who);
	if (((uintptr_t)h & 7) != 0 || h->magic == LV_POISON)
		lv_die("%s: object %p: use after free, or never an object", who, object);
	if (h->magic != LV_QUEUE_MAGIC && h->magic != LV_SEMAPHORE_MAGIC)
		lv_die("%s: %p is not a dispatch object", who, object);
	if (client && atomic_load(&h->xrefs) <= 0)
		lv_die("%s: object %p: used after its last release", who, object);
	return h;
}

void lv_queue_check(const char *who, dispatch_queue_t queue) {
	if (lv_object_check(who, queue, true)->magic != LV_QUEUE_MAGIC)
		lv_die("%s: %p is not a queue", who, (void *)queue);
}

static void destroy(struct lv_object *h) {
	if (h->magic == LV_QUEUE_MAGIC) {
		dispatch_queue_t q = (dispatch_queue_t)h;
		if (q->head != NULL || q->running != 0)
			lv_die("queue %s: destroyed with work in it", q->label);
		pthread_mutex_destroy(&q->mu);
		lv_free(q, sizeof *q);
		atomic_fetch_sub(&lv_count.queues, 1);
		return;
	}
	lv_semaphore_destroy((dispatch_semaphore_t)h);
}

static void ref(struct lv_object *h) {
	atomic_fetch_add(&h->refs, 1);
}

static void unref(struct lv_object *h) {
	if (atomic_fetch_sub(&h->refs, 1) == 1)
		destroy(h);
}

void lv_queue_retain(dispatch_queue_t queue) {
	if (!queue->global)
		ref(&queue->h);
}

void lv_queue_release(dispatch_queue_t queue) {
	if (!queue->global)
		unref(&queue->h);
}

static bool immortal(const struct lv_object *h) {
	return h == &global_queue.h;
}

void dispatch_retain(dispatch_object_t object) {
	struct lv_object *h = lv_object_check("dispatch_retain", object, true);
	if (!immortal(h))
		atomic_fetch_add(&h->xrefs, 1);
}

void dispatch_release(dispatch_object_t object) {
	struct lv_object *h = lv_object_check("dispatch_release", object, false);
	if (immortal(h))
		return;
	int before = atomic_fetch_sub(&h->xrefs, 1);
	if (before <= 0)
		lv_die("dispatch_release: object %p: released too often", object);
	if (before == 1)
		unref(h);
}

dispatch_queue_t dispatch_queue_create(const char *label, dispatch_queue_attr_t attr) {
	if (attr != NULL && attr != &_dispatch_queue_attr_concurrent)
		lv_die("dispatch_queue_create: attribute %p: want NULL or DISPATCH_QUEUE_CONCURRENT", (void *)attr);
	dispatch_queue_t q = lv_alloc(sizeof *q);
	q->h.magic = LV_QUEUE_MAGIC;
	atomic_store(&q->h.refs, 1);
	atomic_store(&q->h.xrefs, 1);
	strncpy(q->label, label == NULL ? "" : label, sizeof q->label - 1);
	q->concurrent = attr != NULL;
	pthread_mutex_init(&q->mu, NULL);
	atomic_fetch_add(&lv_count.queues, 1);
	return q;
}

dispatch_queue_global_t dispatch_get_global_queue(intptr_t identifier, uintptr_t flags) {
	static const intptr_t known[] = {0, 2, -2, INT16_MIN, 0x21, 0x19, 0x15, 0x11, 0x09};
	if ((flags & ~(uintptr_t)2) != 0)
		return NULL;
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (known[i] == identifier)
			return &global_queue;
	return NULL;
}

const char *dispatch_queue_get_label(dispatch_queue_t queue) {
	lv_queue_check("dispatch_queue_get_label", queue);
	return queue->label;
}

// run runs one piece of work and notes whose turn it is.
static void run(dispatch_queue_t q, dispatch_function_t work, void *context) {
	struct turn turn = {q, turns};
	turns = &turn;
	work(context);
	turns = turn.outer;
}

static void *worker(void *unused);

static void spawn_locked(void) {
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	pthread_t id;
	int err = pthread_create(&id, &attr, worker, NULL);
	pthread_attr_destroy(&attr);
	if (err != 0 && threads == 0)
		lv_die("pthread_create: %s", strerror(err));
	if (err == 0) {
		threads++;
		atomic_fetch_add(&lv_count.threads, 1);
	}
}

// schedule puts q, locked by the caller, at the end of the pool's list.
static void schedule_locked(dispatch_queue_t q) {
	if (q->scheduled)
		return;
	q->scheduled = true;
	lv_queue_retain(q); // the list's; serve drops it
	pthread_once(&pool_once, pool_init);
	pthread_mutex_lock(&pool_mu);
	q->next_ready = NULL;
	if (ready_tail != NULL)
		ready_tail->next_ready = q;
	else
		ready_head = q;
	ready_tail = q;
	ready++;
	if (idle < ready && threads < MAX_THREADS)
		spawn_locked();
	pthread_cond_signal(&pool_cond);
	pthread_mutex_unlock(&pool_mu);
}

static void enqueue(dispatch_queue_t q, struct item *item) {
	lv_queue_retain(q);
	pthread_mutex_lock(&q->mu);
	if (q->tail != NULL)
		q->tail->next = item;
	else
		q->head = item;
	q->tail = item;
	if (q->concurrent || q->running == 0)
		schedule_locked(q);
	pthread_mutex_unlock(&q->mu);
}

static struct item *take_locked(dispatch_queue_t q) {
	struct item *item = q->head;
	if (item == NULL || (!q->concurrent && q->running > 0))
		return NULL;
	q->head = item->next;
	if (q->head == NULL)
		q->tail = NULL;
	q->running++;
	return item;
}

// finish ends a turn and drops the reference that its item held.
static void finish(dispatch_queue_t q) {
	pthread_mutex_lock(&q->mu);
	q->running--;
	if (q->head != NULL)
		schedule_locked(q);
	pthread_mutex_unlock(&q->mu);
	lv_queue_release(q);
}

// serve runs what a queue out of the pool's list has to run.
static void serve(dispatch_queue_t q) {
	pthread_mutex_lock(&q->mu);
	q->scheduled = false;
	for (int i = 0; i < DRAIN; i++) {
		struct item *item = take_locked(q);
		if (item == NULL)
			break;
		if (q->concurrent && q->head != NULL)
			schedule_locked(q);
		if (item->waiter != NULL) { // the turn is its caller's, who finishes it
			item->waiter->go = true;
			pthread_cond_signal(&item->waiter->granted);
			break;
		}
		pthread_mutex_unlock(&q->mu);
		run(q, item->work, item->context);
		free(item);
		pthread_mutex_lock(&q->mu);
		q->running--;
		pthread_mutex_unlock(&q->mu);
		lv_queue_release(q);
		pthread_mutex_lock(&q->mu);
	}
	if (q->head != NULL && (q->concurrent || q->running == 0))
		schedule_locked(q);
	pthread_mutex_unlock(&q->mu);
	lv_queue_release(q);
}

static void *worker(void *unused) {
	(void)unused;
	pthread_mutex_lock(&pool_mu);
	for (;;) {
		uint64_t deadline = lv_now_ns() + IDLE_NS;
		idle++;
		int err = 0;
		while (ready_head == NULL && err == 0) {
			struct timespec until = lv_timespec(deadline);
			err = pthread_cond_timedwait(&pool_cond, &pool_mu, &until);
		}
		idle--;
		if (ready_head == NULL)
			break;
		dispatch_queue_t q = ready_head;
		ready_head = q->next_ready;
		if (ready_head == NULL)
			ready_tail = NULL;
		ready--;
		pthread_mutex_unlock(&pool_mu);
		serve(q);
		pthread_mutex_lock(&pool_mu);
	}
	threads--;
	atomic_fetch_sub(&lv_count.threads, 1);
	pthread_mutex_unlock(&pool_mu);
	return NULL;
}

void lv_queue_async(dispatch_queue_t queue, void *context, dispatch_function_t work) {
	struct item *item = lv_alloc(sizeof *item);
	item->work = work;
	item->context = context;
	enqueue(queue, item);
}

void dispatch_async_f(dispatch_queue_t queue, void *context, dispatch_function_t work) {
	lv_queue_check("dispatch_async_f", queue);
	if (work == NULL)
		lv_die("dispatch_async_f: work is NULL");
	lv_queue_async(queue, context, work);
}

void dispatch_sync_f(dispatch_queue_t queue, void *context, dispatch_function_t work) {
	lv_queue_check("dispatch_sync_f", queue);
	if (work == NULL)
		lv_die("dispatch_sync_f: work is NULL");
	if (queue->concurrent) {
		run(queue, work, context);
		lv_object_check("dispatch_sync_f", queue, true);
		return;
	}
	for (struct turn *t = turns; t != NULL; t = t->outer)
		if (t->queue == queue)
			lv_die("dispatch_sync_f: queue %s: the calling thread runs this queue's work already: deadlock", queue->label);
	pthread_mutex_lock(&queue->mu);
	lv_queue_retain(queue); // finish drops it
	if (queue->running == 0 && queue->head == NULL) {
		queue->running = 1;
		pthread_mutex_unlock(&queue->mu);
	} else {
		struct waiter waiter = {.go = false};
		pthread_cond_init(&waiter.granted, NULL);
		struct item item = {.waiter = &waiter};
		if (queue->tail != NULL)
			queue->tail->next = &item;
		else
			queue->head = &item;
		queue->tail = &item;
		if (queue->running == 0)
			schedule_locked(queue);
		while (!waiter.go)
			pthread_cond_wait(&waiter.granted, &queue->mu);
		pthread_mutex_unlock(&queue->mu);
		pthread_cond_destroy(&waiter.granted);
	}
	run(queue, work, context);
	// libdispatch takes no reference for a wait: it borrows the caller's.
	lv_object_check("dispatch_sync_f", queue, true);
	finish(queue);
}

static void call_block(void *block) {
	((dispatch_block_t)block)();
}

static void call_release_block(void *block) {
	((dispatch_block_t)block)();
	lv_block_release(block);
}

void dispatch_async(dispatch_queue_t queue, dispatch_block_t block) {
	lv_queue_check("dispatch_async", queue);
	lv_queue_async(queue, lv_block_copy("dispatch_async", block), call_release_block);
}

void dispatch_sync(dispatch_queue_t queue, dispatch_block_t block) {
	if (block == NULL)
		lv_die("dispatch_sync: block is NULL");
	dispatch_sync_f(queue, block, call_block);
}
