// The relay loop in C, for comparison with the one in Go: frames between the
// datagram socket that is fd 3 and an interface of libvmnet. Frames of the
// interface are moved inside the event callback, those of the socket by the main
// thread, in batches of up to 64 (16 of more than 2 KiB).
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "vmnet/vmnet.h"

enum { GUEST = 3, MOST = 64 };

struct batch {
	struct vmpktdesc packets[MOST];
	struct iovec iovs[MOST];
	struct mmsghdr msgs[MOST];
	size_t size;
	int most;
};

static void fail(const char *what) {
	perror(what);
	exit(1);
}

static struct batch *new_batch(size_t size) {
	struct batch *b = calloc(1, sizeof *b);
	b->size = size;
	b->most = size > 2048 ? 16 : MOST;
	for (int i = 0; i < b->most; i++) {
		b->iovs[i].iov_base = malloc(size);
		b->packets[i] = (struct vmpktdesc){size, &b->iovs[i], 1, 0};
		b->msgs[i].msg_hdr.msg_iov = &b->iovs[i];
		b->msgs[i].msg_hdr.msg_iovlen = 1;
	}
	return b;
}

static void reset(struct batch *b) {
	for (int i = 0; i < b->most; i++) {
		b->packets[i].vm_pkt_size = b->iovs[i].iov_len = b->size;
		b->packets[i].vm_flags = 0;
	}
}

// to_guest moves what waits at the interface.
static void to_guest(interface_ref interface, struct batch *b) {
	for (;;) {
		reset(b);
		int n = b->most;
		if (vmnet_read(interface, b->packets, &n) != VMNET_SUCCESS || n < 1)
			return;
		for (int i = 0; i < n; i++)
			b->iovs[i].iov_len = b->packets[i].vm_pkt_size;
		for (int sent = 0; sent < n;) {
			int k = sendmmsg(GUEST, b->msgs + sent, (unsigned)(n - sent), 0);
			if (k < 0)
				exit(0); // the guest has gone
			sent += k;
		}
	}
}

// from_guest moves what the guest sends, until it has gone.
static void from_guest(interface_ref interface, struct batch *b) {
	for (;;) {
		reset(b);
		int n = recvmmsg(GUEST, b->msgs, (unsigned)b->most, MSG_WAITFORONE, NULL);
		if (n < 0)
			fail("recvmmsg");
		for (int i = 0; i < n; i++) {
			if (b->msgs[i].msg_len == 0)
				exit(0);
			b->packets[i].vm_pkt_size = b->iovs[i].iov_len = b->msgs[i].msg_len;
		}
		if (vmnet_write(interface, b->packets, &n) != VMNET_SUCCESS)
			fail("vmnet_write");
	}
}

int main(int argc, char **argv) {
	bool offload = argc > 1 && argv[1][0] == '1';
	fcntl(GUEST, F_SETFL, fcntl(GUEST, F_GETFL) & ~O_NONBLOCK);
	dispatch_queue_t queue = dispatch_queue_create("relay", NULL);
	dispatch_semaphore_t started = dispatch_semaphore_create(0);
	xpc_object_t desc = xpc_dictionary_create(NULL, NULL, 0);
	xpc_dictionary_set_uint64(desc, vmnet_operation_mode_key, VMNET_SHARED_MODE);
	xpc_dictionary_set_bool(desc, vmnet_enable_tso_key, offload);
	__block size_t size = 0;
	interface_ref interface = vmnet_start_interface(desc, queue, ^(vmnet_return_t status, xpc_object_t param) {
		if (status == VMNET_SUCCESS)
			size = xpc_dictionary_get_uint64(param, vmnet_max_packet_size_key);
		dispatch_semaphore_signal(started);
	});
	dispatch_semaphore_wait(started, DISPATCH_TIME_FOREVER);
	if (interface == NULL || size == 0)
		fail("vmnet_start_interface");
	struct batch *b = new_batch(size);
	vmnet_interface_set_event_callback(interface, VMNET_INTERFACE_PACKETS_AVAILABLE, queue, ^(interface_event_t mask, xpc_object_t event) {
		(void)mask, (void)event;
		to_guest(interface, b);
	});
	from_guest(interface, new_batch(size));
}
