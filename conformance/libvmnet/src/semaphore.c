// dispatch_time and semaphores.
#define _GNU_SOURCE
#include <errno.h>

#include "base.h"
#include "dispatch.h"

struct dispatch_semaphore_s {
	struct lv_object h;
	pthread_mutex_t mu;
	pthread_cond_t cond;
	intptr_t value, start, waiting;
};

void lv_semaphore_destroy(dispatch_semaphore_t s) {
	if (s->value < s->start || s->waiting > 0)
		lv_die("dispatch_release: semaphore %p: released while in use: value %ld, created with %ld", (void *)s, (long)s->value, (long)s->start);
	pthread_cond_destroy(&s->cond);
	pthread_mutex_destroy(&s->mu);
	lv_free(s, sizeof *s);
	atomic_fetch_sub(&lv_count.semaphores, 1);
}

// Ticks of a 24 MHz clock, as on Apple silicon.
static uint64_t ticks_of(uint64_t ns) {
	return (uint64_t)((unsigned __int128)ns * 3 / 125);
}

dispatch_time_t dispatch_time(dispatch_time_t when, int64_t delta) {
	if (when == DISPATCH_TIME_FOREVER)
		return when;
	uint64_t base = when == DISPATCH_TIME_NOW ? ticks_of(lv_now_ns()) : when;
	uint64_t amount = ticks_of(delta < 0 ? -(uint64_t)delta : (uint64_t)delta);
	if (delta < 0)
		return amount >= base ? 1 : base - amount;
	return base + amount < base || (int64_t)(base + amount) < 0 ? DISPATCH_TIME_FOREVER : base + amount;
}

dispatch_semaphore_t dispatch_semaphore_create(intptr_t value) {
	if (value < 0)
		return NULL;
	dispatch_semaphore_t s = lv_alloc(sizeof *s);
	s->h.magic = LV_SEMAPHORE_MAGIC;
	atomic_store(&s->h.refs, 1);
	atomic_store(&s->h.xrefs, 1);
	s->value = s->start = value;
	pthread_mutex_init(&s->mu, NULL);
	lv_cond_init(&s->cond);
	atomic_fetch_add(&lv_count.semaphores, 1);
	return s;
}

static dispatch_semaphore_t semaphore(const char *who, dispatch_semaphore_t s) {
	if (lv_object_check(who, s, true)->magic != LV_SEMAPHORE_MAGIC)
		lv_die("%s: %p is not a semaphore", who, (void *)s);
	return s;
}

intptr_t dispatch_semaphore_wait(dispatch_semaphore_t sema, dispatch_time_t timeout) {
	dispatch_semaphore_t s = semaphore("dispatch_semaphore_wait", sema);
	int err = 0;
	pthread_mutex_lock(&s->mu);
	s->waiting++;
	while (s->value == 0 && err == 0) {
		if (timeout == DISPATCH_TIME_NOW)
			err = ETIMEDOUT;
		else if (timeout == DISPATCH_TIME_FOREVER)
			err = pthread_cond_wait(&s->cond, &s->mu);
		else {
			struct timespec until = lv_timespec((uint64_t)((unsigned __int128)timeout * 125 / 3));
			err = pthread_cond_timedwait(&s->cond, &s->mu, &until);
		}
	}
	s->waiting--;
	bool got = s->value > 0;
	if (got)
		s->value--;
	pthread_mutex_unlock(&s->mu);
	return got ? 0 : ETIMEDOUT;
}

intptr_t dispatch_semaphore_signal(dispatch_semaphore_t sema) {
	dispatch_semaphore_t s = semaphore("dispatch_semaphore_signal", sema);
	pthread_mutex_lock(&s->mu);
	s->value++;
	intptr_t woken = s->waiting > 0 ? 1 : 0;
	pthread_cond_signal(&s->cond);
	pthread_mutex_unlock(&s->mu);
	return woken;
}
