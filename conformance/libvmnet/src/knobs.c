// The test controls: libvmnet_test_set, _get, _reset, and LIBVMNET_TEST.
#define _GNU_SOURCE
#include "base.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../include/libvmnet_test.h"
#include "iface.h"

struct lv_knobs lv_knob;

static const char *const op_names[LV_OPS] = {
	[LV_START] = "start", [LV_STOP] = "stop", [LV_READ] = "read", [LV_WRITE] = "write", [LV_EVENT] = "event", [LV_RULE] = "rule",
	[LV_NETWORK_CREATE] = "network.create", [LV_NETWORK_OPEN] = "network.open", [LV_NETWORK_SERIALIZE] = "network.serialize",
	[LV_NETWORK_RELEASE] = "network.release",
};

struct entry {
	const char *name;
	atomic_llong *value;
	long long start;
};

#define K(n, field, d) {n, &lv_knob.field, d}
static const struct entry knobs[] = {
	K("events", events, 0), K("events.late", late_events, 0), K("short.read", short_read, 0), K("short.write", short_write, 0),
	K("privilege", privilege, 1), K("root", root, -1), K("batch", batch, 0), K("batch.keys", batch_keys, -1),
	K("traffic", traffic, 0), K("source.size", source_size, 1514), K("source.limit", source_limit, -1),
	K("gateway", gateway, 1), K("dhcp", dhcp, 1), K("ra", ra, 1), K("forward.local", forward_local, 0), K("limit.interfaces", limit, 32), K("ring", ring, 1024),
	K("strict.buffers", strict_buffers, 1), K("virtio.included", virtio_included, 0),
};

#define C(n, field) {n, &lv_count.field, 0}
static const struct entry counters[] = {
	C("live.interfaces", interfaces), C("live.blocks", blocks), C("live.xpc", xpc), C("live.queues", queues),
	C("live.semaphores", semaphores), C("live.threads", threads), C("live.cf", cf), C("live.networks", networks),
	C("live.clients", clients), C("count.block_copies", block_copies), C("count.events", events), C("count.read_calls", read_calls),
	C("count.write_calls", write_calls), C("count.frames_read", frames_read), C("count.frames_written", frames_written),
	C("count.bytes_read", bytes_read), C("count.bytes_written", bytes_written), C("drop.ring", drop_ring), C("drop.big", drop_big),
	C("drop.transport", drop_transport), C("count.late", late), C("count.handlers", handlers),
};
#define LEN(a) (sizeof(a) / sizeof((a)[0]))

static atomic_llong *find_fault(const char *name) {
	static const struct {
		const char *prefix;
		size_t offset;
	} parts[] = {
		{"fail.", offsetof(struct lv_fault, status)}, {"count.fail.", offsetof(struct lv_fault, count)}, {"hang.", offsetof(struct lv_fault, hang)},
		{"late.", offsetof(struct lv_fault, late)},   {"null.", offsetof(struct lv_fault, null)},
	};
	for (size_t p = 0; p < LEN(parts); p++) {
		size_t n = strlen(parts[p].prefix);
		if (strncmp(name, parts[p].prefix, n) != 0)
			continue;
		for (int op = 0; op < LV_OPS; op++)
			if (strcmp(name + n, op_names[op]) == 0)
				return (atomic_llong *)((char *)&lv_knob.fault[op] + parts[p].offset);
	}
	return NULL;
}

static atomic_llong *find(const struct entry *table, size_t n, const char *name) {
	for (size_t i = 0; i < n; i++)
		if (strcmp(table[i].name, name) == 0)
			return table[i].value;
	return NULL;
}

static pthread_mutex_t wake_mu = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;

static void defaults(void) {
	for (size_t i = 0; i < LEN(knobs); i++)
		atomic_store(knobs[i].value, knobs[i].start);
	for (int op = 0; op < LV_OPS; op++) {
		struct lv_fault *f = &lv_knob.fault[op];
		atomic_store(&f->status, 0);
		atomic_store(&f->count, -1);
		atomic_store(&f->hang, 0);
		atomic_store(&f->late, 0);
		atomic_store(&f->null, 0);
	}
}

static void wake_all(void) {
	pthread_mutex_lock(&wake_mu);
	pthread_cond_broadcast(&wake);
	pthread_mutex_unlock(&wake_mu);
}

int libvmnet_test_set(const char *name, int64_t value) {
	if (strcmp(name, "fire") == 0) {
		lv_iface_fire_all(value);
		return 0;
	}
	atomic_llong *knob = find(knobs, LEN(knobs), name);
	if (knob == NULL)
		knob = find_fault(name);
	if (knob == NULL)
		return -1;
	atomic_store(knob, value);
	wake_all();
	if (knob == &lv_knob.traffic)
		lv_iface_fire_all(1);
	return 0;
}

int64_t libvmnet_test_get(const char *name) {
	atomic_llong *value = find(counters, LEN(counters), name);
	if (value == NULL)
		value = find(knobs, LEN(knobs), name);
	if (value == NULL)
		value = find_fault(name);
	return value == NULL ? INT64_MIN : (int64_t)atomic_load(value);
}

void libvmnet_test_reset(void) {
	defaults();
	wake_all();
}

// environment reads LIBVMNET_TEST, "name=value,name=value": the way to give
// controls to a process that does not know this library.
__attribute__((constructor)) static void environment(void) {
	defaults();
	const char *text = getenv("LIBVMNET_TEST");
	if (text == NULL)
		return;
	char *copy = strdup(text), *rest = copy, *part;
	while ((part = strsep(&rest, ",")) != NULL) {
		char *equals = strchr(part, '=');
		if (*part == '\0')
			continue;
		if (equals == NULL)
			lv_die("LIBVMNET_TEST: %s: want name=value", part);
		*equals = '\0';
		char *end;
		long long value = strtoll(equals + 1, &end, 0);
		if (*end != '\0' || equals[1] == '\0' || libvmnet_test_set(part, value) != 0)
			lv_die("LIBVMNET_TEST: %s=%s: no such control, or not a number", part, equals + 1);
	}
	free(copy);
}

uint32_t lv_fault_status(enum lv_op op) {
	struct lv_fault *f = &lv_knob.fault[op];
	long long status = atomic_load(&f->status);
	if (status == 0)
		return 0;
	long long left = atomic_load(&f->count);
	while (left > 0)
		if (atomic_compare_exchange_weak(&f->count, &left, left - 1))
			return (uint32_t)status;
	return left < 0 ? (uint32_t)status : 0;
}

static void wait_for(enum lv_op op, long long hang) {
	pthread_mutex_lock(&wake_mu);
	while (atomic_load(&lv_knob.fault[op].hang) == hang)
		pthread_cond_wait(&wake, &wake_mu);
	pthread_mutex_unlock(&wake_mu);
}

void lv_fault_block(enum lv_op op) {
	if (atomic_load_explicit(&lv_knob.fault[op].hang, memory_order_relaxed) == 2)
		wait_for(op, 2);
}

struct delayed {
	enum lv_op op;
	void (*deliver)(void *);
	void *context;
};

static void delayed_main(void *argument) {
	struct delayed d = *(struct delayed *)argument;
	free(argument);
	wait_for(d.op, 1);
	long long ms = atomic_load(&lv_knob.fault[d.op].late);
	if (ms > 0)
		nanosleep(&(struct timespec){ms / 1000, (ms % 1000) * 1000000}, NULL);
	atomic_fetch_add(&lv_count.late, 1);
	d.deliver(d.context);
}

void lv_fault_handler(enum lv_op op, void (*deliver)(void *), void *context) {
	struct lv_fault *f = &lv_knob.fault[op];
	if (atomic_load(&f->hang) != 1 && atomic_load(&f->late) == 0) {
		deliver(context);
		return;
	}
	struct delayed *d = lv_alloc(sizeof *d);
	*d = (struct delayed){op, deliver, context};
	if (!lv_thread(NULL, delayed_main, d))
		lv_die("no thread for a late handler");
}
