// A tap as the host's end of a network: the kernel routes, filters, translates.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <poll.h>
#include <unistd.h>

#include "../include/vmnet/vmnet.h"
#include "net.h"

struct tap {
	int fd, wake;
	struct net *net;
	pthread_t reader;
};

static void read_tap(void *context) {
	struct tap *tap = context;
	uint8_t *bytes = lv_alloc(LV_MAX_FRAME);
	struct pollfd fds[2] = {{tap->fd, POLLIN, 0}, {tap->wake, POLLIN, 0}};
	while (poll(fds, 2, -1) >= 0 || errno == EINTR) {
		if (fds[1].revents != 0)
			break;
		for (;;) {
			ssize_t n = read(tap->fd, bytes, LV_MAX_FRAME);
			if (n < 14)
				break;
			struct lv_frame frame = {bytes, (size_t)n, NULL};
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
	struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
	snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
	if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0) {
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

void lv_tap_write(struct tap *tap, const struct lv_frame *frame) {
	if (write(tap->fd, frame->bytes, frame->length) < 0)
		atomic_fetch_add(&lv_count.drop_transport, 1);
}
