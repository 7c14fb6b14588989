// Roles for port forwarding: a kernel as the guest behind an interface, its
// server, and a client outside.
#include "test.h"

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static int open_tap(const char *name) {
	struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
	strcpy(request.ifr_name, name);
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	CHECK(fd >= 0 && ioctl(fd, TUNSETIFF, &request) == 0);
	return fd;
}

static vmnet_return_t add(interface_ref ref, uint8_t protocol, uint16_t external, uint16_t internal) {
	uint32_t guest = htonl(0xc0a84009);
	dispatch_semaphore_t called = dispatch_semaphore_create(0);
	__block vmnet_return_t result = 0;
	vmnet_interface_add_ip_port_forwarding_rule(ref, protocol, external, LIBVMNET_AF_INET, &guest, internal, ^(vmnet_return_t status) {
		result = status;
		dispatch_semaphore_signal(called);
	});
	dispatch_semaphore_wait(called, DISPATCH_TIME_FOREVER);
	dispatch_release(called);
	return result;
}

// role_guest moves frames between an interface and the tap lvguest0 until its
// input ends.
ROLE(role_guest) {
	int fd = open_tap("lvguest0");
	struct started s = start(VMNET_SHARED_MODE);
	interface_ref ref = s.ref;
	vmnet_interface_event_callback_t callback = ^(interface_event_t mask, xpc_object_t event) {
		(void)mask, (void)event;
		uint8_t in[1514];
		size_t n;
		while ((n = read_one(ref, in, sizeof in)) > 0)
			if (write(fd, in, n) < 0) {
			} // the tap is not up yet
	};
	EQUAL(vmnet_interface_set_event_callback(ref, 1, queue, callback), VMNET_SUCCESS);
	EQUAL(add(ref, 6, 8080, 80), VMNET_SUCCESS);
	EQUAL(add(ref, 17, 8053, 53), VMNET_SUCCESS);
	EQUAL(add(ref, 6, 8081, 80), VMNET_SUCCESS);
	EQUAL(add(ref, 6, 9, 80), VMNET_FAILURE); // the script's own listener has it
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		struct pollfd fds[2] = {{fd, POLLIN, 0}, {0, POLLIN, 0}};
		CHECK(poll(fds, 2, -1) > 0);
		if (fds[1].revents != 0)
			break;
		uint8_t out[1514];
		ssize_t n = read(fd, out, sizeof out);
		if (n >= 14)
			write_one(ref, out, (size_t)n);
	}
	stop(&s);
	close(fd);
}

static int bound(int type, uint16_t port) {
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, type, 0);
	CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof at) == 0);
	return fd;
}

// role_serve answers one TCP connection and one datagram with what came.
ROLE(role_serve) {
	int tcp = bound(SOCK_STREAM, 80), udp = bound(SOCK_DGRAM, 53);
	static char bytes[65536];
	CHECK(listen(tcp, 1) == 0);
	int fd = accept(tcp, NULL, NULL);
	ssize_t n;
	while ((n = read(fd, bytes, sizeof bytes)) > 0)
		CHECK(write(fd, bytes, (size_t)n) == n);
	close(fd);
	struct sockaddr_storage from;
	socklen_t size = sizeof from;
	n = recvfrom(udp, bytes, sizeof bytes, 0, (struct sockaddr *)&from, &size);
	CHECK(n > 0 && sendto(udp, bytes, (size_t)n, 0, (struct sockaddr *)&from, size) == n);
}

// role_hold listens on a port that a rule then can't have.
ROLE(role_hold) {
	int fd = bound(SOCK_STREAM, 9);
	CHECK(listen(fd, 1) == 0);
	printf("ready\n");
	fflush(stdout);
	pause();
}

static int dial(int type, uint16_t port) {
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int fd = socket(AF_INET, type, 0);
	struct timeval patience = {60, 0};
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0);
	return fd;
}

// echoed sends 300000 bytes and reads them back; false: the connection ended.
static bool echoed(uint16_t port) {
	static char out[1000], in[1000];
	int fd = dial(SOCK_STREAM, port);
	bool ok = true;
	for (int i = 0; i < 300 && ok; i++) {
		memset(out, i, sizeof out);
		ok = send(fd, out, sizeof out, MSG_NOSIGNAL) == sizeof out && recv(fd, in, sizeof in, MSG_WAITALL) == sizeof in &&
		     memcmp(in, out, sizeof in) == 0;
	}
	shutdown(fd, SHUT_WR);
	ok = ok && recv(fd, in, 1, 0) == 0; // the end passes through, too
	close(fd);
	return ok;
}

ROLE(role_client) {
	for (int i = 0; !echoed(8080); i++) {
		CHECK(i < 300);
		usleep(100000);
	}
	int udp = dial(SOCK_DGRAM, 8053);
	char in[16];
	CHECK(send(udp, "question", 8, 0) == 8 && recv(udp, in, sizeof in, 0) == 8);
	close(udp);
}

// role_refused wants what comes from the host itself not to be served.
ROLE(role_refused) {
	int fd = dial(SOCK_STREAM, 8080);
	char byte;
	CHECK(recv(fd, &byte, 1, 0) <= 0);
	close(fd);
}
