// Interfaces: their life, their events, and vmnet_start_interface's relatives.
// Reading and writing is in packet.c, the description's meaning in desc.c.
#include "iface.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../include/libvmnet_test.h"
#include "block.h"
#include "dispatch.h"
#include "packet.h"
#include "xpc.h"

static pthread_mutex_t all_mu = PTHREAD_MUTEX_INITIALIZER; // guards all, and a get against the last put
static struct vmnet_interface *all;

struct vmnet_interface *lv_iface_get(const char *who, interface_ref interface) {
	if (interface == NULL)
		lv_die("%s: interface is NULL", who);
	pthread_mutex_lock(&all_mu);
	if (((uintptr_t)interface & 7) != 0 || interface->magic == LV_POISON)
		lv_die("%s: interface %p: used after it was stopped, or never an interface", who, (void *)interface);
	if (interface->magic != IFACE_MAGIC)
		lv_die("%s: %p is not an interface", who, (void *)interface);
	atomic_fetch_add(&interface->refs, 1);
	pthread_mutex_unlock(&all_mu);
	return interface;
}

static void destroy(struct vmnet_interface *ifc) {
	for (uint32_t i = 0; i < ifc->ring_size; i++)
		free(ifc->ring[i].bytes);
	free(ifc->ring);
	lv_link_free(ifc->link);
	pthread_mutex_destroy(&ifc->mu);
	lv_free(ifc, sizeof *ifc);
}

void lv_iface_put(struct vmnet_interface *ifc) {
	pthread_mutex_lock(&all_mu);
	bool last = atomic_fetch_sub(&ifc->refs, 1) == 1;
	if (last) {
		for (struct vmnet_interface **p = &all; *p != NULL; p = &(*p)->next)
			if (*p == ifc) {
				*p = ifc->next;
				break;
			}
		destroy(ifc);
	}
	pthread_mutex_unlock(&all_mu);
}

static struct vmnet_interface *create(const struct lv_request *request, const struct iface_options *options) {
	struct vmnet_interface *ifc = lv_alloc(sizeof *ifc);
	ifc->magic = IFACE_MAGIC;
	atomic_store(&ifc->refs, 1);
	atomic_store(&ifc->state, IFACE_STARTING);
	pthread_mutex_init(&ifc->mu, NULL);
	ifc->mode = request->net.mode;
	ifc->tso = options->tso;
	ifc->checksum = options->checksum;
	ifc->virtio = options->virtio;
	pthread_mutex_lock(&all_mu);
	ifc->next = all;
	all = ifc;
	pthread_mutex_unlock(&all_mu);
	return ifc;
}

// --- events

static void listener_put(struct listener *l) {
	if (atomic_fetch_sub(&l->refs, 1) != 1)
		return;
	struct vmnet_interface *owner = l->owner;
	lv_block_release(l->callback);
	lv_queue_release(l->queue);
	lv_free(l, sizeof *l);
	lv_iface_put(owner);
}

static bool source_has_more(void) {
	return atomic_load(&lv_knob.traffic) == LV_TRAFFIC_SOURCE && atomic_load(&lv_knob.source_limit) != 0;
}

static uint32_t estimate_locked(const struct vmnet_interface *ifc) {
	return source_has_more() ? 256 : ifc->count;
}

static void deliver(struct listener *l, bool spurious) {
	struct vmnet_interface *ifc = l->owner;
	pthread_mutex_lock(&ifc->mu);
	bool current = ifc->listener == l && atomic_load(&ifc->state) == IFACE_RUNNING;
	uint32_t estimate = spurious ? 0 : estimate_locked(ifc);
	pthread_mutex_unlock(&ifc->mu);
	if (!current && !atomic_load(&lv_knob.late_events))
		return;
	xpc_object_t event = xpc_dictionary_create_empty();
	xpc_dictionary_set_uint64(event, vmnet_estimated_packets_available_key, estimate);
	atomic_fetch_add(&lv_count.events, 1);
	l->callback(VMNET_INTERFACE_PACKETS_AVAILABLE, event);
	xpc_release(event);
}

static void fire(void *context) {
	struct listener *l = context;
	struct vmnet_interface *ifc = l->owner;
	// Before the callback: a frame that comes while it runs makes a new event,
	// else it could stay unseen.
	atomic_fetch_sub(&l->waiting, 1);
	deliver(l, false);
	long long events = atomic_load(&lv_knob.events);
	if (events == LV_EVENTS_STORM)
		deliver(l, true);
	pthread_mutex_lock(&ifc->mu);
	if (ifc->listener == l && atomic_load(&ifc->state) == IFACE_RUNNING && (source_has_more() || (events == LV_EVENTS_LEVEL && ifc->count > 0)))
		lv_iface_notify_locked(ifc);
	pthread_mutex_unlock(&ifc->mu);
	listener_put(l);
}

static void queue_event(struct listener *l) {
	atomic_fetch_add(&l->waiting, 1);
	atomic_fetch_add(&l->refs, 1);
	lv_queue_async(l->queue, l, fire);
}

void lv_iface_notify_locked(struct vmnet_interface *ifc) {
	struct listener *l = ifc->listener;
	if (l == NULL)
		return;
	int most = atomic_load(&lv_knob.events) == LV_EVENTS_STORM ? 1024 : 1;
	if (atomic_load(&l->waiting) < most)
		queue_event(l);
}

void lv_iface_fire_all(int64_t n) {
	pthread_mutex_lock(&all_mu);
	for (struct vmnet_interface *ifc = all; ifc != NULL; ifc = ifc->next) {
		pthread_mutex_lock(&ifc->mu);
		for (int64_t i = 0; ifc->listener != NULL && i < n; i++)
			queue_event(ifc->listener);
		pthread_mutex_unlock(&ifc->mu);
	}
	pthread_mutex_unlock(&all_mu);
}

// swap_listener sets l, or NULL, and lets go of the one before.
static void swap_listener(struct vmnet_interface *ifc, struct listener *l) {
	pthread_mutex_lock(&ifc->mu);
	struct listener *old = ifc->listener;
	ifc->listener = l;
	if (l != NULL && estimate_locked(ifc) > 0)
		lv_iface_notify_locked(ifc);
	pthread_mutex_unlock(&ifc->mu);
	if (old != NULL)
		listener_put(old);
}

static vmnet_return_t set_event(struct vmnet_interface *ifc, interface_event_t mask, dispatch_queue_t queue, vmnet_interface_event_callback_t callback) {
	if ((queue == NULL) != (callback == NULL))
		return VMNET_INVALID_ARGUMENT;
	if (atomic_load(&ifc->state) != IFACE_RUNNING)
		return VMNET_SETUP_INCOMPLETE;
	uint32_t fault = lv_fault_status(LV_EVENT);
	if (fault != 0)
		return fault;
	if (callback == NULL) {
		swap_listener(ifc, NULL);
		return VMNET_SUCCESS;
	}
	if (mask != VMNET_INTERFACE_PACKETS_AVAILABLE)
		return VMNET_INVALID_ARGUMENT;
	lv_queue_check("vmnet_interface_set_event_callback", queue);
	struct listener *l = lv_alloc(sizeof *l);
	atomic_store(&l->refs, 1);
	l->owner = lv_iface_get("vmnet_interface_set_event_callback", ifc);
	l->callback = lv_block_copy("vmnet_interface_set_event_callback", callback);
	l->queue = queue;
	lv_queue_retain(queue);
	swap_listener(ifc, l);
	return VMNET_SUCCESS;
}

vmnet_return_t vmnet_interface_set_event_callback(interface_ref interface, interface_event_t event_mask, dispatch_queue_t queue,
                                                  vmnet_interface_event_callback_t callback) {
	struct vmnet_interface *ifc = lv_iface_get("vmnet_interface_set_event_callback", interface);
	lv_fault_block(LV_EVENT);
	vmnet_return_t status = set_event(ifc, event_mask, queue, callback);
	lv_iface_put(ifc);
	return status;
}

// --- start

struct start {
	struct vmnet_interface *ifc;
	vmnet_return_t status;
	struct iface_options options;
	struct lv_answer answer;
	dispatch_queue_t queue;
	vmnet_start_interface_completion_handler_t handler;
};

static void set_address(xpc_object_t param, const char *key, uint32_t address) {
	char text[16];
	snprintf(text, sizeof text, "%u.%u.%u.%u", address >> 24, address >> 16 & 255, address >> 8 & 255, address & 255);
	xpc_dictionary_set_string(param, key, text);
}

static void set_addresses(xpc_object_t param, const struct lv_answer *a) {
#if LV_MACOS >= 101500
	set_address(param, vmnet_start_address_key, a->start);
	set_address(param, vmnet_end_address_key, a->end);
	set_address(param, vmnet_subnet_mask_key, a->mask);
	if (a->mode == VMNET_SHARED_MODE) {
		char text[64];
		const uint8_t *p = a->prefix;
		snprintf(text, sizeof text, "%x:%x:%x:%x::", p[0] << 8 | p[1], p[2] << 8 | p[3], p[4] << 8 | p[5], p[6] << 8 | p[7]);
		xpc_dictionary_set_string(param, vmnet_nat66_prefix_key, text);
	}
#else
	(void)param, (void)a, (void)set_address;
#endif
}

static xpc_object_t parameters(const struct start *s) {
	const struct lv_answer *a = &s->answer;
	xpc_object_t param = xpc_dictionary_create_empty();
	xpc_dictionary_set_uint64(param, vmnet_mtu_key, s->ifc->mtu);
	uint32_t max = s->ifc->max_frame;
	if (s->ifc->virtio && atomic_load(&lv_knob.virtio_included))
		max += LV_VHDR;
	xpc_dictionary_set_uint64(param, vmnet_max_packet_size_key, max);
	xpc_dictionary_set_uuid(param, vmnet_interface_id_key, a->id);
	if (s->options.mac) {
		char mac[18];
		snprintf(mac, sizeof mac, "%02x:%02x:%02x:%02x:%02x:%02x", a->mac[0], a->mac[1], a->mac[2], a->mac[3], a->mac[4], a->mac[5]);
		xpc_dictionary_set_string(param, vmnet_mac_address_key, mac);
	}
	long long told = atomic_load(&lv_knob.batch_keys);
	if (told == 1 || (told < 0 && LV_MACOS >= 150000)) {
		xpc_dictionary_set_uint64(param, "vmnet_read_max_packets", lv_packet_batch());
		xpc_dictionary_set_uint64(param, "vmnet_write_max_packets", lv_packet_batch());
	}
	if (s->options.addresses && a->start != 0)
		set_addresses(param, a);
	return param;
}

static void start_done(void *context) {
	struct start *s = context;
	xpc_object_t param = NULL;
	if (s->status == VMNET_SUCCESS) {
		param = parameters(s);
		atomic_store(&s->ifc->state, IFACE_RUNNING);
	} else {
		atomic_store(&s->ifc->state, IFACE_FAILED);
	}
	atomic_fetch_add(&lv_count.handlers, 1);
	s->handler(s->status, param);
	if (param != NULL)
		xpc_release(param);
	lv_block_release(s->handler);
	lv_queue_release(s->queue);
	lv_iface_put(s->ifc);
	free(s);
}

static void start_schedule(void *context) {
	struct start *s = context;
	lv_queue_async(s->queue, s, start_done);
}

// set_up asks the core for the port; VMNET_SUCCESS, or why there is none.
static vmnet_return_t set_up(struct start *s, const struct lv_request *request) {
	lv_call(request, &s->answer);
	if (s->answer.status != VMNET_SUCCESS)
		return s->answer.status;
	struct vmnet_interface *ifc = s->ifc;
	ifc->port = s->answer.handle;
	ifc->mode = s->answer.mode;
	ifc->mtu = s->answer.mtu;
	ifc->max_frame = s->options.tso ? LV_MAX_FRAME : ifc->mtu + 14;
	ifc->ring_size = (uint32_t)atomic_load(&lv_knob.ring);
	ifc->ring = calloc(ifc->ring_size, sizeof *ifc->ring);
	if (ifc->ring == NULL)
		lv_die("out of memory for a ring");
	ifc->link = lv_attach(ifc->port, lv_packet_receive, ifc);
	if (ifc->link == NULL) {
		struct lv_request undo = {.magic = LV_MAGIC, .op = LV_OP_STOP, .handle = ifc->port};
		lv_call(&undo, &s->answer);
		return VMNET_FAILURE;
	}
	atomic_fetch_add(&lv_count.interfaces, 1);
	return VMNET_SUCCESS;
}

interface_ref lv_iface_start(struct lv_request *request, const struct iface_options *options, vmnet_return_t failure, dispatch_queue_t queue,
                             vmnet_start_interface_completion_handler_t handler) {
	lv_fault_block(LV_START);
	struct start *s = lv_alloc(sizeof *s);
	s->ifc = create(request, options);
	s->options = *options;
	s->queue = queue;
	lv_queue_retain(queue);
	s->handler = lv_block_copy("vmnet_start_interface", handler);
	uint32_t fault = lv_fault_status(LV_START);
	s->status = fault != 0 ? fault : failure != 0 ? failure : set_up(s, request);
	struct vmnet_interface *ifc = s->ifc;
	long long null = atomic_load(&lv_knob.fault[LV_START].null);
	if (s->status == VMNET_SUCCESS)
		null = 0;
	else if (s->status == VMNET_INVALID_ARGUMENT && null == 0)
		null = 1; // no interface came to be: NULL, and the handler tells why
	atomic_fetch_add(&ifc->refs, null == 0 ? 1 : 0);
	if (null == 2) {
		lv_block_release(s->handler);
		lv_queue_release(s->queue);
		lv_iface_put(s->ifc);
		free(s);
		return NULL;
	}
	lv_fault_handler(LV_START, start_schedule, s);
	return null == 0 ? ifc : NULL;
}

// --- stop

struct stop {
	struct vmnet_interface *ifc;
	vmnet_return_t status;
	dispatch_queue_t queue;
	vmnet_interface_completion_handler_t handler;
};

static void stop_done(void *context) {
	struct stop *s = context;
	bool stopped = s->status == VMNET_SUCCESS;
	if (stopped)
		atomic_fetch_sub(&lv_count.interfaces, 1);
	atomic_fetch_add(&lv_count.handlers, 1);
	s->handler(s->status);
	lv_block_release(s->handler);
	lv_queue_release(s->queue);
	if (stopped)
		lv_iface_put(s->ifc); // the client's: the handle is dead from here on
	lv_iface_put(s->ifc);
	free(s);
}

static void stop_schedule(void *context) {
	struct stop *s = context;
	lv_queue_async(s->queue, s, stop_done);
}

static void tear_down(struct vmnet_interface *ifc) {
	swap_listener(ifc, NULL);
	lv_detach(ifc->link);
	struct lv_request request = {.magic = LV_MAGIC, .op = LV_OP_STOP, .handle = ifc->port};
	struct lv_answer answer;
	lv_call(&request, &answer);
}

vmnet_return_t vmnet_stop_interface(interface_ref interface, dispatch_queue_t queue, vmnet_interface_completion_handler_t handler) {
	struct vmnet_interface *ifc = lv_iface_get("vmnet_stop_interface", interface);
	lv_queue_check("vmnet_stop_interface", queue);
	vmnet_interface_completion_handler_t copy = lv_block_copy("vmnet_stop_interface", handler);
	lv_fault_block(LV_STOP);
	uint32_t fault = lv_fault_status(LV_STOP), running = IFACE_RUNNING;
	bool ours = fault == 0 ? atomic_compare_exchange_strong(&ifc->state, &running, IFACE_STOPPED) : atomic_load(&ifc->state) == IFACE_RUNNING;
	if (!ours) {
		lv_block_release(copy);
		lv_iface_put(ifc);
		return running == IFACE_STOPPED ? VMNET_FAILURE : VMNET_SETUP_INCOMPLETE;
	}
	if (fault == 0)
		tear_down(ifc);
	struct stop *s = lv_alloc(sizeof *s);
	*s = (struct stop){ifc, fault == 0 ? VMNET_SUCCESS : fault, queue, copy};
	lv_queue_retain(queue);
	lv_fault_handler(LV_STOP, stop_schedule, s);
	return VMNET_SUCCESS;
}

int libvmnet_test_inject(void *interface, const void *frame, size_t length) {
	struct vmnet_interface *ifc = lv_iface_get("libvmnet_test_inject", interface);
	struct lv_frame f = {frame, length, NULL};
	bool taken = lv_packet_deliver(ifc, &f);
	lv_iface_put(ifc);
	return taken ? 0 : -1;
}
