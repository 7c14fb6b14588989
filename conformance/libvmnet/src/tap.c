// A tap as the host's end of a network: the kernel routes, filters, translates.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../include/vmnet/vmnet.h"
#include "checksum.h"
#include "net.h"

struct tap {
	int fd, wake;
	struct net *net;
	pthread_t reader;
};

static void read_tap(void *context) {
	struct tap *tap = context;
	uint8_t *bytes = lv_alloc(LV_VHDR + LV_MAX_FRAME);
	struct pollfd fds[2] = {{tap->fd, POLLIN, 0}, {tap->wake, POLLIN, 0}};
	while (poll(fds, 2, -1) >= 0 || errno == EINTR) {
		if (fds[1].revents != 0)
			break;
		for (;;) {
			ssize_t n = read(tap->fd, bytes, LV_VHDR + LV_MAX_FRAME);
			if (n < LV_VHDR + 14)
				break;
			struct lv_frame frame = {bytes + LV_VHDR, (size_t)n - LV_VHDR, NULL};
			lv_net_tap_input(tap->net, &frame);
		}
	}
	free(bytes);
}

static const char *wanted(uint32_t mode) {
	if (mode == VMNET_SHARED_MODE)
		return getenv("LIBVMNET_TAP");
	return getenv(mode == VMNET_HOST_MODE ? "LIBVMNET_TAP_HOST" : "LIBVMNET_TAP_BRIDGED");
}

// attach opens the tap; -1 when it is not there or another network has it.
static int attach(const char *name, uint8_t mac[6]) {
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	int header = LV_VHDR;
	snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
	if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0 || ioctl(fd, TUNSETVNETHDRSZ, &header) < 0) {
		if (fd < 0 || errno != EBUSY)
			dprintf(STDERR_FILENO, "libvmnet: tap %s: %s\n", name, strerror(errno));
		if (fd >= 0)
			close(fd);
		return -1;
	}
	// SIOCGIFHWADDR on the tap's own descriptor needs no second socket.
	if (ioctl(fd, SIOCGIFHWADDR, &request) == 0)
		memcpy(mac, request.ifr_hwaddr.sa_data, 6);
	return fd;
}

struct tap *lv_tap_open(struct net *net) {
	const char *name = wanted(net->spec.mode);
	if (name == NULL || *name == '\0')
		return NULL;
	int fd = attach(name, net->gateway_mac);
	if (fd < 0)
		return NULL;
	struct tap *tap = lv_alloc(sizeof *tap);
	tap->fd = fd;
	tap->net = net;
	tap->wake = eventfd(0, EFD_CLOEXEC);
	if (tap->wake < 0 || !lv_thread(&tap->reader, read_tap, tap))
		lv_die("tap %s: no descriptor or thread for its reader", name);
	return tap;
}

void lv_tap_close(struct tap *tap) {
	uint64_t one = 1;
	if (write(tap->wake, &one, sizeof one) != sizeof one)
		lv_die("tap: eventfd: %s", strerror(errno));
	pthread_join(tap->reader, NULL);
	close(tap->wake);
	close(tap->fd);
	free(tap);
}

// segmented makes the header for a TCP frame larger than the network's MTU, as
// interfaces with TSO send it: the kernel cuts it up. copy gets the frame, with
// the pseudo header's sum in the place of TCP's checksum, as the kernel wants it.
static bool segmented(const struct tap *tap, const struct lv_frame *frame, uint8_t *header, uint8_t *copy) {
	const uint8_t *ip = frame->bytes + 14;
	bool v4 = frame->bytes[12] == 0x08 && ip[9] == 6, v6 = frame->bytes[12] == 0x86 && ip[6] == 6;
	size_t start = v4 ? 14 + (size_t)(ip[0] & 15) * 4 : 54;
	if ((!v4 && !v6) || frame->length < start + 20)
		return false;
	size_t all = start + (size_t)(frame->bytes[start + 12] >> 4) * 4, segment = tap->net->spec.mtu + 14 - all;
	memcpy(copy, frame->bytes, frame->length);
	uint32_t sum = lv_checksum_sum(v4 ? ip + 12 : ip + 8, v4 ? 8 : 32, (uint32_t)(frame->length - start) + 6);
	uint16_t pseudo = (uint16_t)~lv_checksum_fold(sum);
	copy[start + 16] = (uint8_t)(pseudo >> 8);
	copy[start + 17] = (uint8_t)pseudo;
	const uint16_t fields[] = {(uint16_t)all, (uint16_t)segment, (uint16_t)start, 16};
	header[0] = 1;          // VIRTIO_NET_HDR_F_NEEDS_CSUM
	header[1] = v4 ? 1 : 4; // VIRTIO_NET_HDR_GSO_TCPV4, _TCPV6
	memcpy(header + 2, fields, sizeof fields);
	return true;
}

void lv_tap_write(struct tap *tap, const struct lv_frame *frame) {
	uint8_t header[LV_VHDR] = {0}, *copy = NULL;
	const uint8_t *bytes = frame->bytes;
	if (frame->length > tap->net->spec.mtu + 14u) {
		copy = malloc(frame->length);
		if (copy == NULL || !segmented(tap, frame, header, copy)) {
			free(copy);
			atomic_fetch_add(&lv_count.drop_big, 1);
			return;
		}
		bytes = copy;
	}
	struct iovec parts[2] = {{header, sizeof header}, {(void *)(uintptr_t)bytes, frame->length}};
	if (writev(tap->fd, parts, 2) < 0)
		atomic_fetch_add(&lv_count.drop_transport, 1);
	free(copy);
}
