// Things every file of libvmnet uses: fatal errors, memory that stays poisoned
// for a while after it was freed, counters, and the knobs that tests turn.
#ifndef LV_BASE_H
#define LV_BASE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// The release of macOS that is imitated, 110000 for 11.0: functions and keys of
// later releases are left out of the library.
#ifndef LV_MACOS
#define LV_MACOS 260000
#endif

// lv_die ends the process with a message on standard error.
_Noreturn void lv_die(const char *format, ...) __attribute__((format(printf, 1, 2)));

// lv_alloc gives zeroed memory and never NULL; lv_free poisons the memory and
// keeps it for some ten thousand further calls, so that a use after free meets
// LV_POISON and not somebody else's object.
void *lv_alloc(size_t size);
void lv_free(void *memory, size_t size);
#define LV_POISON 0xdbdbdbdbu

uint64_t lv_now_ns(void);
void lv_random(void *bytes, size_t length);
uint64_t lv_hash(const void *bytes, size_t length, uint64_t seed);

// lv_thread starts a thread with all signals blocked; it is for threads that
// never run a client's code. With id NULL nobody joins it. False: no thread.
bool lv_thread(pthread_t *id, void (*body)(void *), void *context);

// Counters that tests read through libvmnet_test_get.
struct lv_counters {
	atomic_llong interfaces, blocks, block_copies, xpc, queues, semaphores, threads, cf, networks, clients;
	atomic_llong events, read_calls, write_calls, frames_read, frames_written, bytes_read, bytes_written;
	atomic_llong drop_ring, drop_big, drop_transport, late, handlers;
};
extern struct lv_counters lv_count;

// Operations that can be told to fail, hang, be late or answer NULL.
enum lv_op {
	LV_START,
	LV_STOP,
	LV_READ,
	LV_WRITE,
	LV_EVENT,
	LV_RULE,
	LV_NETWORK_CREATE,
	LV_NETWORK_OPEN,
	LV_NETWORK_SERIALIZE,
	LV_NETWORK_RELEASE,
	LV_OPS,
};

struct lv_fault {
	atomic_llong status; // 0 = no fault
	atomic_llong count;  // calls still to fail; negative = all
	atomic_llong hang;   // 1: the handler is kept back; 2: the call itself blocks
	atomic_llong late;   // milliseconds the handler is kept back
	atomic_llong null;   // 1: NULL and handler called; 2: NULL and no handler
};

enum { LV_EVENTS_COALESCED, LV_EVENTS_LEVEL, LV_EVENTS_STORM };
enum { LV_TRAFFIC_HUB, LV_TRAFFIC_SINK, LV_TRAFFIC_SOURCE, LV_TRAFFIC_ECHO };

struct lv_knobs {
	struct lv_fault fault[LV_OPS];
	atomic_llong events, late_events;
	atomic_llong short_read, short_write; // packets at most, 0 = off
	atomic_llong privilege, root;         // 0 = missing; root: -1 = ask the system
	atomic_llong batch, batch_keys;
	atomic_llong traffic, source_size, source_limit;
	atomic_llong gateway, dhcp, ra, forward_local, limit, ring, strict_buffers, virtio_included;
};
extern struct lv_knobs lv_knob;

// lv_fault_status gives the status that this call of op must fail with, or 0,
// and counts it.
uint32_t lv_fault_status(enum lv_op op);
// lv_fault_block waits in the calling thread while op is told to block calls.
void lv_fault_block(enum lv_op op);
// lv_fault_handler runs deliver(context) at once, or later from another thread
// when op is told to hang or to be late.
void lv_fault_handler(enum lv_op op, void (*deliver)(void *), void *context);

#endif
