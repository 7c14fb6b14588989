// Interfaces as a client sees them.
#ifndef LV_IFACE_H
#define LV_IFACE_H

#include "../include/vmnet/vmnet.h"
#include "base.h"
#include "core.h"
#include "transport.h"

#define IFACE_MAGIC 0x564d4946u

enum iface_state { IFACE_STARTING, IFACE_RUNNING, IFACE_FAILED, IFACE_STOPPED };

// slot holds one waiting frame; its memory grows to the largest frame it saw.
struct slot {
	uint8_t *bytes;
	uint32_t capacity, length;
	uint8_t vhdr[LV_VHDR];
};

// One callback that was set, with everything it needs; counted, because events
// that are on a queue already still hold it when it is taken away.
struct listener {
	atomic_int refs, waiting; // waiting: events on the queue
	struct vmnet_interface *owner;
	dispatch_queue_t queue;
	vmnet_interface_event_callback_t callback;
};

struct vmnet_interface {
	uint32_t magic;
	atomic_int refs;
	_Atomic uint32_t state;
	struct vmnet_interface *next; // list of all, guarded by its lock
	uint64_t port;
	struct lv_link *link; // NULL until set up
	uint32_t mode, mtu, max_frame;
	bool tso, checksum, virtio;
	pthread_mutex_t mu; // guards listener and the ring
	struct listener *listener;
	struct slot *ring;
	uint32_t ring_size, head, count;
};

// lv_iface_get gives a living interface with a reference, or ends the process.
struct vmnet_interface *lv_iface_get(const char *who, interface_ref interface);
void lv_iface_put(struct vmnet_interface *ifc);
// lv_iface_fire_all delivers n events to every interface that listens.
void lv_iface_fire_all(int64_t n);
// lv_iface_notify says that a frame is there; with ifc->mu held.
void lv_iface_notify_locked(struct vmnet_interface *ifc);

// lv_iface_start is the common part of both ways to start; desc was checked and
// request filled in by the caller, failure = a status that was found meanwhile.
struct iface_options {
	bool mac, tso, checksum, virtio, addresses;
};
interface_ref lv_iface_start(struct lv_request *request, const struct iface_options *options, vmnet_return_t failure, dispatch_queue_t queue,
                             vmnet_start_interface_completion_handler_t handler);

#endif
