// vmnet_read and vmnet_write: their limits, and the ring of waiting frames.
#include "packet.h"

#include <stdlib.h>
#include <string.h>

#include "checksum.h"

uint32_t lv_packet_batch(void) {
	long long batch = atomic_load(&lv_knob.batch);
	if (batch > 0)
		return (uint32_t)batch;
	long long told = atomic_load(&lv_knob.batch_keys);
	return told == 1 || (told < 0 && LV_MACOS >= 150000) ? 256 : 200;
}

// deliver puts a frame in the ring; finished says that its checksum was completed on
// the way, though its header, which some interfaces pass on, says that it is open.
static bool deliver(struct vmnet_interface *ifc, const struct lv_frame *frame, bool finished) {
	if (frame->length > ifc->max_frame) {
		atomic_fetch_add(&lv_count.drop_big, 1);
		return false;
	}
	pthread_mutex_lock(&ifc->mu);
	bool fits = ifc->count < ifc->ring_size && atomic_load(&ifc->state) <= IFACE_RUNNING;
	if (fits) {
		struct slot *slot = &ifc->ring[(ifc->head + ifc->count) % ifc->ring_size];
		if (slot->capacity < frame->length) {
			free(slot->bytes);
			slot->capacity = frame->length <= 2048 ? 2048 : (uint32_t)frame->length;
			slot->bytes = malloc(slot->capacity);
			if (slot->bytes == NULL)
				lv_die("out of memory for a frame");
		}
		memcpy(slot->bytes, frame->bytes, frame->length);
		slot->length = (uint32_t)frame->length;
		if (frame->vhdr != NULL)
			memcpy(slot->vhdr, frame->vhdr, LV_VHDR);
		else
			memset(slot->vhdr, 0, LV_VHDR);
		if (finished && ifc->virtio)
			lv_checksum_reopen(slot->bytes, slot->length, slot->vhdr);
		ifc->count++;
		lv_iface_notify_locked(ifc);
	}
	pthread_mutex_unlock(&ifc->mu);
	if (!fits)
		atomic_fetch_add(&lv_count.drop_ring, 1);
	return fits;
}

bool lv_packet_deliver(struct vmnet_interface *ifc, const struct lv_frame *frame) {
	return deliver(ifc, frame, false);
}

void lv_packet_receive(void *context, const struct lv_frame *frame) {
	deliver(context, frame, true);
}

// admit holds what both calls have in common before they look at packets.
static vmnet_return_t admit(struct vmnet_interface *ifc, enum lv_op op, const struct vmpktdesc *packets, const int *pktcnt) {
	if (packets == NULL || pktcnt == NULL)
		return VMNET_INVALID_ARGUMENT;
	if (atomic_load(&ifc->state) != IFACE_RUNNING)
		return VMNET_SETUP_INCOMPLETE;
	lv_fault_block(op);
	uint32_t fault = lv_fault_status(op);
	if (fault != 0)
		return fault;
	if (*pktcnt <= 0)
		return VMNET_INVALID_ARGUMENT;
	return *pktcnt > (int)lv_packet_batch() ? VMNET_TOO_MANY_PACKETS : VMNET_SUCCESS;
}

static size_t capacity(const struct vmpktdesc *p) {
	return p->vm_pkt_size < p->vm_pkt_iov->iov_len ? p->vm_pkt_size : p->vm_pkt_iov->iov_len;
}

// check_buffers looks at every descriptor, whether or not a frame waits for it,
// so that a client that forgets to reset one is found out at once.
static vmnet_return_t check_buffers(const struct vmnet_interface *ifc, const struct vmpktdesc *packets, int n) {
	size_t least = ifc->max_frame + (ifc->virtio ? LV_VHDR : 0u);
	bool strict = atomic_load(&lv_knob.strict_buffers) != 0;
	for (int i = 0; i < n; i++) {
		const struct vmpktdesc *p = &packets[i];
		if (p->vm_pkt_iovcnt != 1 || p->vm_pkt_iov == NULL || p->vm_pkt_iov->iov_base == NULL || p->vm_flags != 0)
			return VMNET_INVALID_ARGUMENT;
		if (strict && capacity(p) < least)
			return VMNET_INVALID_ARGUMENT;
	}
	return VMNET_SUCCESS;
}

static void put_out(const struct vmnet_interface *ifc, struct vmpktdesc *p, const struct lv_frame *frame) {
	uint8_t *out = p->vm_pkt_iov->iov_base;
	size_t room = capacity(p), header = 0;
	if (ifc->virtio) {
		header = room < LV_VHDR ? room : LV_VHDR;
		memcpy(out, frame->vhdr, header);
	}
	size_t n = room - header < frame->length ? room - header : frame->length;
	memcpy(out + header, frame->bytes, n);
	p->vm_pkt_size = header + n;
	p->vm_flags = 0;
}

// The source's frame: to all, from a station that is not there, of an ethertype
// kept for local experiments.
static uint8_t source_frame[LV_MAX_FRAME] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0, 0, 0, 1, 0x88, 0xb5};
static uint8_t sink_frame[LV_MAX_FRAME + LV_VHDR];

static int read_source(const struct vmnet_interface *ifc, struct vmpktdesc *packets, int n) {
	static const uint8_t none[LV_VHDR];
	size_t size = (size_t)atomic_load(&lv_knob.source_size);
	if (size > ifc->max_frame)
		size = ifc->max_frame;
	long long left = atomic_load(&lv_knob.source_limit);
	while (left >= 0) {
		long long take = left < n ? left : n;
		if (atomic_compare_exchange_weak(&lv_knob.source_limit, &left, left - take)) {
			n = (int)take;
			break;
		}
	}
	struct lv_frame frame = {source_frame, size, none};
	for (int i = 0; i < n; i++)
		put_out(ifc, &packets[i], &frame);
	return n;
}

static int read_ring(struct vmnet_interface *ifc, struct vmpktdesc *packets, int n) {
	pthread_mutex_lock(&ifc->mu);
	int got = (int)ifc->count < n ? (int)ifc->count : n;
	for (int i = 0; i < got; i++) {
		const struct slot *slot = &ifc->ring[ifc->head];
		struct lv_frame frame = {slot->bytes, slot->length, slot->vhdr};
		put_out(ifc, &packets[i], &frame);
		ifc->head = (ifc->head + 1) % ifc->ring_size;
		ifc->count--;
	}
	pthread_mutex_unlock(&ifc->mu);
	return got;
}

static vmnet_return_t do_read(struct vmnet_interface *ifc, struct vmpktdesc *packets, int *pktcnt) {
	vmnet_return_t status = admit(ifc, LV_READ, packets, pktcnt);
	if (status == VMNET_SUCCESS)
		status = check_buffers(ifc, packets, *pktcnt);
	if (status != VMNET_SUCCESS)
		return status;
	int n = *pktcnt;
	long long most = atomic_load(&lv_knob.short_read);
	if (most > 0 && n > most)
		n = (int)most;
	n = atomic_load(&lv_knob.traffic) == LV_TRAFFIC_SOURCE ? read_source(ifc, packets, n) : read_ring(ifc, packets, n);
	long long bytes = 0;
	for (int i = 0; i < n; i++)
		bytes += (long long)packets[i].vm_pkt_size;
	atomic_fetch_add(&lv_count.frames_read, n);
	atomic_fetch_add(&lv_count.bytes_read, bytes);
	*pktcnt = n;
	return VMNET_SUCCESS;
}

vmnet_return_t vmnet_read(interface_ref interface, struct vmpktdesc *packets, int *pktcnt) {
	struct vmnet_interface *ifc = lv_iface_get("vmnet_read", interface);
	atomic_fetch_add(&lv_count.read_calls, 1);
	vmnet_return_t status = do_read(ifc, packets, pktcnt);
	lv_iface_put(ifc);
	return status;
}

static vmnet_return_t check_packets(const struct vmnet_interface *ifc, const struct vmpktdesc *packets, int n) {
	size_t header = ifc->virtio ? LV_VHDR : 0;
	for (int i = 0; i < n; i++) {
		const struct vmpktdesc *p = &packets[i];
		if (p->vm_pkt_iovcnt != 1 || p->vm_pkt_iov == NULL || p->vm_pkt_iov->iov_base == NULL || p->vm_flags != 0)
			return VMNET_INVALID_ARGUMENT;
		if (p->vm_pkt_size < header + 14 || p->vm_pkt_iov->iov_len != p->vm_pkt_size)
			return VMNET_INVALID_ARGUMENT;
		if (p->vm_pkt_size > ifc->max_frame + header)
			return VMNET_PACKET_TOO_BIG;
	}
	return VMNET_SUCCESS;
}

static struct lv_frame frame_of(const struct vmnet_interface *ifc, const struct vmpktdesc *p) {
	const uint8_t *bytes = p->vm_pkt_iov->iov_base;
	if (!ifc->virtio)
		return (struct lv_frame){bytes, p->vm_pkt_size, NULL};
	return (struct lv_frame){bytes + LV_VHDR, p->vm_pkt_size - LV_VHDR, bytes};
}

// send_finished completes checksums that the client left to us, then switches.
static void send_finished(struct vmnet_interface *ifc, const struct lv_frame *frames, int n) {
	static const uint8_t none[LV_VHDR];
	uint8_t *copy = malloc(LV_MAX_FRAME);
	if (copy == NULL)
		lv_die("out of memory for a frame");
	for (int i = 0; i < n; i++) {
		memcpy(copy, frames[i].bytes, frames[i].length);
		struct lv_frame frame = {copy, frames[i].length, frames[i].vhdr};
		if (ifc->virtio && !lv_checksum_partial(copy, frame.length, frame.vhdr))
			continue; // nonsense in the header: dropped, as a driver's back end does
		if (!ifc->virtio) {
			lv_checksum_fill(copy, frame.length);
			frame.vhdr = none;
		}
		lv_send(ifc->link, &frame, 1);
	}
	free(copy);
}

static void echo(struct vmnet_interface *ifc, const struct lv_frame *frame) {
	uint8_t *copy = malloc(frame->length);
	if (copy == NULL)
		lv_die("out of memory for a frame");
	memcpy(copy, frame->bytes + 6, 6);
	memcpy(copy + 6, frame->bytes, 6);
	memcpy(copy + 12, frame->bytes + 12, frame->length - 12);
	struct lv_frame back = {copy, frame->length, frame->vhdr};
	lv_packet_deliver(ifc, &back);
	free(copy);
}

// swallow copies a frame, as an interface must; the empty assembler text reads
// it, so that the compiler does not leave the copy out.
static void swallow(const struct lv_frame *frame) {
	memcpy(sink_frame, frame->bytes, frame->length);
	__asm__ volatile("" : : "r"(sink_frame) : "memory");
}

static void emit(struct vmnet_interface *ifc, const struct vmpktdesc *packets, int n) {
	struct lv_frame frames[256];
	long long traffic = atomic_load(&lv_knob.traffic);
	for (int done = 0; done < n;) {
		int some = n - done < 256 ? n - done : 256;
		for (int i = 0; i < some; i++) {
			frames[i] = frame_of(ifc, &packets[done + i]);
			if (traffic == LV_TRAFFIC_SINK)
				swallow(&frames[i]);
			else if (traffic == LV_TRAFFIC_ECHO)
				echo(ifc, &frames[i]);
		}
		if (traffic == LV_TRAFFIC_HUB && (ifc->virtio || ifc->checksum))
			send_finished(ifc, frames, some);
		else if (traffic == LV_TRAFFIC_HUB)
			lv_send(ifc->link, frames, (size_t)some);
		done += some;
	}
}

static vmnet_return_t do_write(struct vmnet_interface *ifc, struct vmpktdesc *packets, int *pktcnt) {
	vmnet_return_t status = admit(ifc, LV_WRITE, packets, pktcnt);
	if (status == VMNET_SUCCESS)
		status = check_packets(ifc, packets, *pktcnt);
	if (status != VMNET_SUCCESS)
		return status;
	int n = *pktcnt;
	long long most = atomic_load(&lv_knob.short_write);
	if (most > 0 && n > most)
		n = (int)most;
	emit(ifc, packets, n);
	long long bytes = 0;
	for (int i = 0; i < n; i++)
		bytes += (long long)packets[i].vm_pkt_size;
	atomic_fetch_add(&lv_count.frames_written, n);
	atomic_fetch_add(&lv_count.bytes_written, bytes);
	*pktcnt = n;
	return VMNET_SUCCESS;
}

vmnet_return_t vmnet_write(interface_ref interface, struct vmpktdesc *packets, int *pktcnt) {
	struct vmnet_interface *ifc = lv_iface_get("vmnet_write", interface);
	atomic_fetch_add(&lv_count.write_calls, 1);
	vmnet_return_t status = do_write(ifc, packets, pktcnt);
	lv_iface_put(ifc);
	return status;
}
