#include "test.h"

#include <stdatomic.h>

static vmnet_return_t raw_write(interface_ref ref, uint8_t *bytes, size_t size, size_t iov_len, uint32_t iovcnt, uint32_t flags) {
	struct iovec parts[2] = {{bytes, iov_len}, {bytes, iov_len}};
	struct vmpktdesc packet = {size, parts, iovcnt, flags};
	int n = 1;
	return vmnet_write(ref, &packet, &n);
}

TEST(write_limits) {
	static uint8_t bytes[2000];
	struct started s = start(VMNET_SHARED_MODE);
	frame(bytes, sizeof bytes, 255, 1);
	EQUAL(raw_write(s.ref, bytes, 1514, 1514, 1, 0), VMNET_SUCCESS);
	EQUAL(raw_write(s.ref, bytes, 14, 14, 1, 0), VMNET_SUCCESS);
	EQUAL(raw_write(s.ref, bytes, 1515, 1515, 1, 0), VMNET_PACKET_TOO_BIG);
	EQUAL(raw_write(s.ref, bytes, 0, 0, 1, 0), VMNET_INVALID_ARGUMENT);
	EQUAL(raw_write(s.ref, bytes, 4, 4, 1, 0), VMNET_INVALID_ARGUMENT);
	EQUAL(raw_write(s.ref, bytes, 60, 61, 1, 0), VMNET_INVALID_ARGUMENT);
	EQUAL(raw_write(s.ref, bytes, 60, 59, 1, 0), VMNET_INVALID_ARGUMENT);
	EQUAL(raw_write(s.ref, bytes, 120, 60, 2, 0), VMNET_INVALID_ARGUMENT);
	EQUAL(raw_write(s.ref, bytes, 60, 60, 0, 0), VMNET_INVALID_ARGUMENT);
	EQUAL(raw_write(s.ref, bytes, 60, 60, 1, 1), VMNET_INVALID_ARGUMENT);
	EQUAL(raw_write(s.ref, NULL, 60, 60, 1, 0), VMNET_INVALID_ARGUMENT);
	stop(&s);
}

static vmnet_return_t many(interface_ref ref, int count, bool writing, size_t size, int *n) {
	static uint8_t bytes[300][1514];
	static struct iovec parts[300];
	static struct vmpktdesc packets[300];
	for (int i = 0; i < 300; i++) {
		if (writing)
			frame(bytes[i], size, 255, (uint8_t)i);
		parts[i] = (struct iovec){bytes[i], size};
		packets[i] = (struct vmpktdesc){size, &parts[i], 1, 0};
	}
	*n = count;
	return writing ? vmnet_write(ref, packets, n) : vmnet_read(ref, packets, n);
}

TEST(batch_limits) {
	struct started a = start(VMNET_HOST_MODE), b = start(VMNET_HOST_MODE);
	int n;
	EQUAL(many(a.ref, 257, true, 60, &n), VMNET_TOO_MANY_PACKETS);
	EQUAL(many(a.ref, 257, false, 1514, &n), VMNET_TOO_MANY_PACKETS);
	EQUAL(many(a.ref, 0, true, 60, &n), VMNET_INVALID_ARGUMENT);
	EQUAL(many(a.ref, -1, false, 1514, &n), VMNET_INVALID_ARGUMENT);
	EQUAL(many(a.ref, 256, true, 60, &n), VMNET_SUCCESS);
	EQUAL(n, 256);
	EQUAL(many(b.ref, 256, false, 1514, &n), VMNET_SUCCESS);
	EQUAL(n, 256);
	EQUAL(many(b.ref, 256, false, 1514, &n), VMNET_SUCCESS);
	EQUAL(n, 0);
	control("batch.keys", 0);
	EQUAL(many(a.ref, 201, true, 60, &n), VMNET_TOO_MANY_PACKETS);
	EQUAL(many(a.ref, 200, true, 60, &n), VMNET_SUCCESS);
	stop(&a);
	stop(&b);
}

static vmnet_return_t raw_read(interface_ref ref, size_t size, size_t iov_len, uint32_t iovcnt, uint32_t flags, size_t *got) {
	static uint8_t bytes[2000];
	struct iovec part = {bytes, iov_len};
	struct vmpktdesc packet = {size, &part, iovcnt, flags};
	int n = 1;
	vmnet_return_t status = vmnet_read(ref, &packet, &n);
	*got = status == VMNET_SUCCESS && n == 1 ? packet.vm_pkt_size : 0;
	return status;
}

TEST(read_limits) {
	struct started s = start(VMNET_HOST_MODE);
	uint8_t bytes[60];
	size_t got;
	// Checked even though nothing waits.
	EQUAL(raw_read(s.ref, 1514, 1514, 1, 0, &got), VMNET_SUCCESS);
	EQUAL(raw_read(s.ref, 1514, 1513, 1, 0, &got), VMNET_INVALID_ARGUMENT);
	EQUAL(raw_read(s.ref, 60, 1514, 1, 0, &got), VMNET_INVALID_ARGUMENT); // not reset after the last read
	EQUAL(raw_read(s.ref, 1514, 1514, 2, 0, &got), VMNET_INVALID_ARGUMENT);
	EQUAL(raw_read(s.ref, 1514, 1514, 1, 2, &got), VMNET_INVALID_ARGUMENT);
	control("strict.buffers", 0);
	frame(bytes, 60, 255, 1);
	EQUAL(libvmnet_test_inject(s.ref, bytes, 60), 0);
	EQUAL(raw_read(s.ref, 20, 1514, 1, 0, &got), VMNET_SUCCESS);
	EQUAL(got, 20);
	stop(&s);
}

TEST(packet_faults) {
	struct started a = start(VMNET_HOST_MODE), b = start(VMNET_HOST_MODE);
	int n;
	control("short.write", 3);
	EQUAL(many(a.ref, 10, true, 60, &n), VMNET_SUCCESS);
	EQUAL(n, 3);
	control("short.read", 2);
	EQUAL(many(b.ref, 10, false, 1514, &n), VMNET_SUCCESS);
	EQUAL(n, 2);
	control("fail.write", VMNET_BUFFER_EXHAUSTED);
	control("count.fail.write", 2);
	EQUAL(many(a.ref, 1, true, 60, &n), VMNET_BUFFER_EXHAUSTED);
	EQUAL(many(a.ref, 1, true, 60, &n), VMNET_BUFFER_EXHAUSTED);
	EQUAL(many(a.ref, 1, true, 60, &n), VMNET_SUCCESS);
	control("fail.read", VMNET_FAILURE);
	EQUAL(many(b.ref, 1, false, 1514, &n), VMNET_FAILURE);
	libvmnet_test_reset();
	stop(&a);
	stop(&b);
}

TEST(ring_is_bounded) {
	struct started s = start(VMNET_HOST_MODE);
	uint8_t bytes[1514];
	for (int i = 0; i < 1030; i++) {
		frame(bytes, 60, 255, (uint8_t)i);
		EQUAL(libvmnet_test_inject(s.ref, bytes, 60), i < 1024 ? 0 : -1);
	}
	EQUAL(libvmnet_test_get("drop.ring"), 6);
	for (int i = 0; i < 1024; i++) {
		EQUAL(read_one(s.ref, bytes, sizeof bytes), 60);
		EQUAL(bytes[11], (uint8_t)i);
	}
	EQUAL(read_one(s.ref, bytes, sizeof bytes), 0);
	EQUAL(libvmnet_test_inject(s.ref, bytes, 60), 0);
	static uint8_t big[2000];
	EQUAL(libvmnet_test_inject(s.ref, big, sizeof big), -1);
	EQUAL(libvmnet_test_get("drop.big"), 1);
	stop(&s);
}

TEST(hub_learns) {
	struct started s[3] = {start(VMNET_HOST_MODE), start(VMNET_HOST_MODE), start(VMNET_HOST_MODE)};
	uint8_t bytes[1514];
	frame(bytes, 60, 255, 1); // from 0: to all
	EQUAL(write_one(s[0].ref, bytes, 60), VMNET_SUCCESS);
	EQUAL(read_one(s[1].ref, bytes, sizeof bytes), 60);
	EQUAL(read_one(s[2].ref, bytes, sizeof bytes), 60);
	EQUAL(read_one(s[0].ref, bytes, sizeof bytes), 0); // no way back to the sender
	frame(bytes, 60, 1, 2); // 1 knows where 1 is
	EQUAL(write_one(s[1].ref, bytes, 60), VMNET_SUCCESS);
	EQUAL(read_one(s[0].ref, bytes, sizeof bytes), 60);
	EQUAL(read_one(s[2].ref, bytes, sizeof bytes), 0);
	frame(bytes, 60, 9, 1); // nobody knows 9
	EQUAL(write_one(s[0].ref, bytes, 60), VMNET_SUCCESS);
	EQUAL(read_one(s[1].ref, bytes, sizeof bytes), 60);
	EQUAL(read_one(s[2].ref, bytes, sizeof bytes), 60);
	stop(&s[0]); // and what it was is forgotten with it
	frame(bytes, 60, 1, 2);
	EQUAL(write_one(s[1].ref, bytes, 60), VMNET_SUCCESS);
	EQUAL(read_one(s[2].ref, bytes, sizeof bytes), 60);
	struct started other = start(VMNET_SHARED_MODE);
	frame(bytes, 60, 255, 2);
	EQUAL(write_one(s[1].ref, bytes, 60), VMNET_SUCCESS);
	EQUAL(read_one(other.ref, bytes, sizeof bytes), 0); // another network
	stop(&other);
	stop(&s[1]);
	stop(&s[2]);
}

TEST(hub_isolates) {
	struct started s[3];
	for (int i = 0; i < 3; i++) {
		xpc_object_t desc = description(VMNET_HOST_MODE);
		xpc_dictionary_set_bool(desc, vmnet_enable_isolation_key, i < 2);
		s[i] = start_with(desc);
	}
	uint8_t bytes[1514];
	frame(bytes, 60, 255, 1);
	EQUAL(write_one(s[0].ref, bytes, 60), VMNET_SUCCESS);
	EQUAL(read_one(s[1].ref, bytes, sizeof bytes), 0);
	EQUAL(read_one(s[2].ref, bytes, sizeof bytes), 60);
	for (int i = 0; i < 3; i++)
		stop(&s[i]);
}

TEST(bridged_hub) {
	struct started s[2];
	for (int i = 0; i < 2; i++) {
		xpc_object_t desc = description(VMNET_BRIDGED_MODE);
		xpc_dictionary_set_string(desc, vmnet_shared_interface_name_key, "en1");
		xpc_dictionary_set_bool(desc, vmnet_enable_isolation_key, true); // means nothing there
		s[i] = start_with(desc);
		EQUAL(s[i].status, VMNET_SUCCESS);
	}
	uint8_t bytes[1514];
	frame(bytes, 60, 255, 1);
	EQUAL(write_one(s[0].ref, bytes, 60), VMNET_SUCCESS);
	EQUAL(read_one(s[1].ref, bytes, sizeof bytes), 60);
	stop(&s[0]);
	stop(&s[1]);
}

static struct started offloaded(const char *key) {
	xpc_object_t desc = description(VMNET_HOST_MODE);
	xpc_dictionary_set_bool(desc, vmnet_enable_tso_key, true);
	xpc_dictionary_set_bool(desc, key, true);
	return start_with(desc);
}

TEST(virtio_header) {
	static uint8_t out[65562], in[65562];
	struct started a = offloaded(vmnet_enable_virtio_header_key), b = offloaded(vmnet_enable_virtio_header_key), plain = start(VMNET_HOST_MODE);
	EQUAL(xpc_dictionary_get_uint64(a.param, vmnet_max_packet_size_key), 65550);
	frame(out + 12, 65550, 255, 1);
	out[1] = 1; // VIRTIO_NET_HDR_GSO_TCPV4
	out[4] = 0xa8;
	EQUAL(write_one(a.ref, out, sizeof out), VMNET_SUCCESS);
	EQUAL(read_one(b.ref, in, sizeof in), sizeof in);
	CHECK(memcmp(in, out, sizeof in) == 0);
	EQUAL(read_one(plain.ref, in, 1514), 0); // too large for it
	frame(out + 12, 60, 255, 1);
	memset(out, 0, 12);
	out[0] = 1; // VIRTIO_NET_HDR_F_NEEDS_CSUM
	out[6] = 14;
	out[8] = 40;
	EQUAL(write_one(a.ref, out, 72), VMNET_SUCCESS);
	EQUAL(read_one(plain.ref, in, 1514), 60);
	CHECK(in[54] == 0xff && in[55] == 0xff); // the sum over noughts
	out[6] = 70; // outside the frame
	EQUAL(write_one(a.ref, out, 72), VMNET_SUCCESS);
	EQUAL(read_one(plain.ref, in, 1514), 0);
	frame(out, 60, 255, 1);
	EQUAL(write_one(plain.ref, out, 60), VMNET_SUCCESS);
	EQUAL(read_one(b.ref, in, sizeof in), 72); // the checksummed one before
	EQUAL(in[0], 1);
	CHECK(in[66] == in[67] && (in[66] == 0 || in[66] == 0xff)); // open again, as its header says: nought, in either form
	EQUAL(read_one(b.ref, in, sizeof in), 72); // one without a header gets one
	EQUAL(in[0], 0);
	stop(&a);
	stop(&b);
	stop(&plain);
}

TEST(checksum_offload) {
	static uint8_t out[60] = {255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0,
	                          10,  0,   0,   1,   10,  0,   0, 2, 0, 9, 0, 9, 0, 12};
	static uint8_t in[65550];
	struct started a = offloaded(vmnet_enable_checksum_offload_key), b = start(VMNET_HOST_MODE);
	EQUAL(write_one(a.ref, out, sizeof out), VMNET_SUCCESS);
	EQUAL(read_one(b.ref, in, 1514), 60);
	uint32_t sum = 0;
	for (int i = 14; i < 34; i += 2)
		sum += (uint32_t)(in[i] << 8 | in[i + 1]);
	EQUAL((sum & 0xffff) + (sum >> 16), 0xffff);
	CHECK(in[40] != 0 || in[41] != 0);
	stop(&a);
	stop(&b);
}

TEST(sink_source_echo) {
	static uint8_t bytes[1514];
	struct started s = start(VMNET_SHARED_MODE);
	control("traffic", 1);
	frame(bytes, 1514, 255, 1);
	EQUAL(write_one(s.ref, bytes, 1514), VMNET_SUCCESS);
	EQUAL(libvmnet_test_get("count.frames_written"), 1);
	EQUAL(read_one(s.ref, bytes, 1514), 0);
	control("traffic", 2);
	control("source.size", 100);
	control("source.limit", 3);
	int n;
	EQUAL(many(s.ref, 2, false, 1514, &n), VMNET_SUCCESS);
	EQUAL(n, 2);
	EQUAL(read_one(s.ref, bytes, 1514), 100);
	EQUAL(read_one(s.ref, bytes, 1514), 0);
	control("traffic", 3);
	frame(bytes, 60, 7, 1);
	EQUAL(write_one(s.ref, bytes, 60), VMNET_SUCCESS);
	EQUAL(read_one(s.ref, bytes, 1514), 60);
	CHECK(bytes[5] == 1 && bytes[11] == 7);
	stop(&s);
}

// --- events

static atomic_int events;

static void listen_on(struct started *s, bool draining) {
	interface_ref ref = s->ref;
	vmnet_interface_event_callback_t callback = ^(interface_event_t mask, xpc_object_t event) {
		EQUAL(mask, VMNET_INTERFACE_PACKETS_AVAILABLE);
		CHECK(xpc_get_type(xpc_dictionary_get_value(event, vmnet_estimated_packets_available_key)) == XPC_TYPE_UINT64);
		atomic_fetch_add(&events, 1);
		uint8_t bytes[1514];
		if (draining)
			read_one(ref, bytes, sizeof bytes);
	};
	EQUAL(vmnet_interface_set_event_callback(ref, VMNET_INTERFACE_PACKETS_AVAILABLE, queue, callback), VMNET_SUCCESS);
}

static void inject(const struct started *s, int n) {
	uint8_t bytes[60];
	frame(bytes, sizeof bytes, 255, 1);
	for (int i = 0; i < n; i++)
		EQUAL(libvmnet_test_inject(s->ref, bytes, sizeof bytes), 0);
}

static void barrier(void) {
	for (int i = 0; i < 50; i++)
		dispatch_sync(queue, ^{
		});
}

TEST(event_coalesced) {
	struct started s = start(VMNET_SHARED_MODE);
	listen_on(&s, false);
	dispatch_sync(queue, ^{
		inject(&s, 10);
	});
	barrier();
	EQUAL(atomic_load(&events), 1); // ten frames, one event, and none again for those that wait
	dispatch_sync(queue, ^{
		inject(&s, 1);
	});
	barrier();
	EQUAL(atomic_load(&events), 2);
	listen_on(&s, false); // set while frames wait
	barrier();
	EQUAL(atomic_load(&events), 3);
	stop(&s);
}

TEST(event_level) {
	struct started s = start(VMNET_SHARED_MODE);
	control("events", 1);
	listen_on(&s, true);
	inject(&s, 10);
	uint8_t bytes[1514];
	for (int i = 0; i < 30000 && atomic_load(&events) < 10; i++)
		usleep(1000);
	barrier();
	CHECK(atomic_load(&events) >= 10); // one frame each time, until none is left
	EQUAL(read_one(s.ref, bytes, sizeof bytes), 0);
	stop(&s);
}

TEST(event_storm) {
	struct started s = start(VMNET_SHARED_MODE);
	control("events", 2);
	listen_on(&s, false);
	dispatch_sync(queue, ^{
		inject(&s, 10);
	});
	barrier();
	EQUAL(atomic_load(&events), 20);
	stop(&s);
}

TEST(event_arguments) {
	struct started s = start(VMNET_SHARED_MODE);
	EQUAL(vmnet_interface_set_event_callback(s.ref, 1, queue, NULL), VMNET_INVALID_ARGUMENT);
	vmnet_interface_event_callback_t callback = ^(interface_event_t mask, xpc_object_t event) {
		(void)mask, (void)event;
	};
	EQUAL(vmnet_interface_set_event_callback(s.ref, 1, NULL, callback), VMNET_INVALID_ARGUMENT);
	EQUAL(vmnet_interface_set_event_callback(s.ref, 2, queue, callback), VMNET_INVALID_ARGUMENT);
	control("fail.event", VMNET_FAILURE);
	EQUAL(vmnet_interface_set_event_callback(s.ref, 1, queue, callback), VMNET_FAILURE);
	control("fail.event", 0);
	eventually("live.blocks", 0);
	stop(&s);
}

// taken_away queues an event behind work, then takes the callback away.
static void taken_away(int want) {
	struct started s = start(VMNET_SHARED_MODE);
	dispatch_semaphore_t go = dispatch_semaphore_create(0);
	listen_on(&s, false);
	dispatch_async(queue, ^{
		dispatch_semaphore_wait(go, DISPATCH_TIME_FOREVER);
	});
	inject(&s, 1);
	EQUAL(vmnet_interface_set_event_callback(s.ref, 1, NULL, NULL), VMNET_SUCCESS);
	dispatch_semaphore_signal(go);
	barrier();
	EQUAL(atomic_load(&events), want);
	dispatch_release(go);
	stop(&s);
}

TEST(event_taken_away) { taken_away(0); }
TEST(event_late) {
	control("events.late", 1);
	taken_away(1);
}

TEST(event_source_never_ends) {
	struct started s = start(VMNET_SHARED_MODE);
	control("traffic", 2);
	listen_on(&s, true);
	for (int i = 0; i < 30000 && atomic_load(&events) < 100; i++)
		usleep(1000);
	CHECK(atomic_load(&events) >= 100);
	stop(&s);
}

TEST(event_queue_retained) {
	struct started s = start(VMNET_SHARED_MODE);
	dispatch_queue_t own = dispatch_queue_create("own", NULL);
	EQUAL(vmnet_interface_set_event_callback(s.ref, 1, own, ^(interface_event_t mask, xpc_object_t event) {
		(void)mask, (void)event;
		atomic_fetch_add(&events, 1);
	}), VMNET_SUCCESS);
	dispatch_release(own); // the interface holds it
	inject(&s, 1);
	for (int i = 0; i < 30000 && atomic_load(&events) < 1; i++)
		usleep(1000);
	EQUAL(atomic_load(&events), 1);
	stop(&s);
}

ABORT(event_dictionary_kept, "use after free") {
	struct started s = start(VMNET_SHARED_MODE);
	__block xpc_object_t kept = NULL;
	vmnet_interface_set_event_callback(s.ref, 1, queue, ^(interface_event_t mask, xpc_object_t event) {
		(void)mask;
		kept = event;
	});
	control("fire", 1);
	barrier();
	xpc_dictionary_get_uint64(kept, vmnet_estimated_packets_available_key);
}
