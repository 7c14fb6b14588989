#define _GNU_SOURCE
#include "base.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

struct lv_counters lv_count;

void lv_die(const char *format, ...) {
	char text[512];
	int n = snprintf(text, sizeof text, "libvmnet: ");
	va_list args;
	va_start(args, format);
	n += vsnprintf(text + n, sizeof text - (size_t)n - 1, format, args);
	va_end(args);
	if (n > (int)sizeof text - 2)
		n = (int)sizeof text - 2;
	text[n++] = '\n';
	// write(2) and not stdio: the process may be in any state.
	if (write(STDERR_FILENO, text, (size_t)n) < 0) {
	}
	abort();
}

void *lv_alloc(size_t size) {
	void *memory = calloc(1, size);
	if (memory == NULL)
		lv_die("out of memory for %zu bytes", size);
	return memory;
}

#define QUARANTINE 16384
static pthread_mutex_t quarantine_mu = PTHREAD_MUTEX_INITIALIZER;
static void *quarantine[QUARANTINE];
static unsigned quarantine_next;

void lv_free(void *memory, size_t size) {
	if (memory == NULL)
		return;
	memset(memory, LV_POISON & 0xff, size);
	pthread_mutex_lock(&quarantine_mu);
	void *oldest = quarantine[quarantine_next];
	quarantine[quarantine_next] = memory;
	quarantine_next = (quarantine_next + 1) % QUARANTINE;
	pthread_mutex_unlock(&quarantine_mu);
	free(oldest);
}

uint64_t lv_now_ns(void) {
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void lv_random(void *bytes, size_t length) {
	if (getrandom(bytes, length, 0) != (ssize_t)length)
		lv_die("getrandom: %s", strerror(errno));
}

uint64_t lv_hash(const void *bytes, size_t length, uint64_t seed) {
	const uint8_t *p = bytes;
	uint64_t h = 14695981039346656037u ^ (seed * 0x9e3779b97f4a7c15u);
	for (size_t i = 0; i < length; i++)
		h = (h ^ p[i]) * 1099511628211u;
	h ^= h >> 32;
	return h * 0xd6e8feb86659fd93u;
}

struct thread_start {
	void (*body)(void *);
	void *context;
};

static void *thread_main(void *argument) {
	struct thread_start start = *(struct thread_start *)argument;
	free(argument);
	start.body(start.context);
	return NULL;
}

bool lv_thread(pthread_t *id, void (*body)(void *), void *context) {
	struct thread_start *start = lv_alloc(sizeof *start);
	*start = (struct thread_start){body, context};
	sigset_t blocked, old;
	sigfillset(&blocked);
	pthread_sigmask(SIG_SETMASK, &blocked, &old);
	pthread_t unjoined;
	int err = pthread_create(id != NULL ? id : &unjoined, NULL, thread_main, start);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err != 0) {
		free(start);
		return false;
	}
	if (id == NULL)
		pthread_detach(unjoined);
	return true;
}
