// Serves a port forwarding rule where a tap makes guests reachable: connections
// and datagrams to the external port are passed on to the guest.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../include/vmnet/vmnet.h"
#include "net.h"

#define MAX_CONNECTIONS 256
#define MAX_CLIENTS 64 // of a UDP rule; the one that was silent longest makes room
#define CONNECT_MS 30000

struct lv_forward {
	atomic_int refs, connections;
	int fd, wake; // wake becomes readable for good when the rule goes
	pthread_t thread;
	struct sockaddr_storage guest;
	socklen_t length;
};

static socklen_t address(const struct lv_rule *rule, const uint8_t *bytes, uint16_t port, struct sockaddr_storage *to) {
	memset(to, 0, sizeof *to);
	if (rule->family == LIBVMNET_AF_INET) {
		struct sockaddr_in *v4 = (struct sockaddr_in *)to;
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
		memcpy(&v4->sin_addr, bytes, 4);
		return sizeof *v4;
	}
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)to;
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons(port);
	memcpy(&v6->sin6_addr, bytes, 16);
	return sizeof *v6;
}

static void unref(struct lv_forward *f) {
	if (atomic_fetch_sub(&f->refs, 1) != 1)
		return;
	close(f->fd);
	close(f->wake);
	free(f);
}

// from_here tells a peer on this host: the real ones serve only connections that
// arrive from outside.
static bool from_here(const struct sockaddr_storage *local, const struct sockaddr_storage *peer) {
	if (atomic_load(&lv_knob.forward_local))
		return false;
	if (peer->ss_family == AF_INET) {
		uint32_t p = ((const struct sockaddr_in *)peer)->sin_addr.s_addr;
		return ntohl(p) >> 24 == 127 || p == ((const struct sockaddr_in *)local)->sin_addr.s_addr;
	}
	const struct in6_addr *p = &((const struct sockaddr_in6 *)peer)->sin6_addr;
	return IN6_IS_ADDR_LOOPBACK(p) || memcmp(p, &((const struct sockaddr_in6 *)local)->sin6_addr, 16) == 0;
}

struct connection {
	struct lv_forward *forward;
	int outside, inside;
};

static bool wait_for(const struct lv_forward *f, int fd, short events, int ms) {
	struct pollfd fds[2] = {{fd, events, 0}, {f->wake, POLLIN, 0}};
	return poll(fds, 2, ms) > 0 && fds[1].revents == 0;
}

// copy moves what one side has to the other; false: the direction has ended.
static bool copy(const struct lv_forward *f, int from, int to) {
	char bytes[65536];
	ssize_t n = recv(from, bytes, sizeof bytes, MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	for (ssize_t done = 0; done < n;) {
		ssize_t sent = send(to, bytes + done, (size_t)(n - done), MSG_DONTWAIT | MSG_NOSIGNAL);
		if (sent > 0)
			done += sent;
		else if (errno != EAGAIN || !wait_for(f, to, POLLOUT, -1))
			return false;
	}
	if (n == 0)
		shutdown(to, SHUT_WR);
	return n > 0;
}

static void pump(const struct connection *c) {
	bool out = true, in = true;
	while (out || in) {
		struct pollfd fds[3] = {{out ? c->outside : -1, POLLIN, 0}, {in ? c->inside : -1, POLLIN, 0}, {c->forward->wake, POLLIN, 0}};
		if (poll(fds, 3, -1) < 0 && errno != EINTR)
			return;
		if (fds[2].revents != 0)
			return;
		if (fds[0].revents != 0)
			out = copy(c->forward, c->outside, c->inside);
		if (fds[1].revents != 0)
			in = copy(c->forward, c->inside, c->outside);
	}
}

static void serve_connection(void *context) {
	struct connection c = *(struct connection *)context;
	struct lv_forward *f = c.forward;
	free(context);
	c.inside = socket(f->guest.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int err = 0;
	socklen_t size = sizeof err;
	bool ok = c.inside >= 0 && (connect(c.inside, (struct sockaddr *)&f->guest, f->length) == 0 || errno == EINPROGRESS) &&
	          wait_for(f, c.inside, POLLOUT, CONNECT_MS) && getsockopt(c.inside, SOL_SOCKET, SO_ERROR, &err, &size) == 0 && err == 0;
	if (ok)
		pump(&c);
	if (c.inside >= 0)
		close(c.inside);
	close(c.outside);
	atomic_fetch_sub(&f->connections, 1);
	unref(f);
}

static void accept_one(struct lv_forward *f) {
	struct sockaddr_storage peer, local;
	socklen_t size = sizeof peer, local_size = sizeof local;
	int fd = accept4(f->fd, (struct sockaddr *)&peer, &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return;
	bool refuse = getsockname(fd, (struct sockaddr *)&local, &local_size) < 0 || from_here(&local, &peer) ||
	              atomic_load(&f->connections) >= MAX_CONNECTIONS;
	struct connection *c = lv_alloc(sizeof *c);
	*c = (struct connection){f, fd, -1};
	atomic_fetch_add(&f->refs, 1);
	atomic_fetch_add(&f->connections, 1);
	if (refuse || !lv_thread(NULL, serve_connection, c)) {
		free(c);
		close(fd);
		atomic_fetch_sub(&f->connections, 1);
		unref(f);
	}
}

static void serve_tcp(void *context) {
	struct lv_forward *f = context;
	while (wait_for(f, f->fd, POLLIN, -1))
		accept_one(f);
}

struct client {
	struct sockaddr_storage from;
	socklen_t size;
	int fd;
	uint64_t used;
};

static struct client *client_for(struct lv_forward *f, struct client *clients, const struct sockaddr_storage *from, socklen_t size) {
	struct client *oldest = &clients[0];
	for (int i = 0; i < MAX_CLIENTS; i++) {
		struct client *c = &clients[i];
		if (c->fd >= 0 && c->size == size && memcmp(&c->from, from, size) == 0)
			return c;
		if (c->fd < 0 || (oldest->fd >= 0 && c->used < oldest->used))
			oldest = c->fd < 0 && oldest->fd < 0 ? oldest : c;
	}
	if (oldest->fd >= 0)
		close(oldest->fd);
	oldest->from = *from;
	oldest->size = size;
	oldest->fd = socket(f->guest.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (oldest->fd >= 0 && connect(oldest->fd, (struct sockaddr *)&f->guest, f->length) < 0) {
		close(oldest->fd);
		oldest->fd = -1;
	}
	return oldest->fd >= 0 ? oldest : NULL;
}

static void from_outside(struct lv_forward *f, struct client *clients) {
	char bytes[65536];
	struct sockaddr_storage from = {0};
	socklen_t size = sizeof from;
	ssize_t n = recvfrom(f->fd, bytes, sizeof bytes, MSG_DONTWAIT, (struct sockaddr *)&from, &size);
	struct client *c = n < 0 ? NULL : client_for(f, clients, &from, size);
	if (c != NULL) {
		c->used = lv_now_ns();
		send(c->fd, bytes, (size_t)n, MSG_NOSIGNAL);
	}
}

static void from_guest(const struct lv_forward *f, struct client *c) {
	char bytes[65536];
	ssize_t n = recv(c->fd, bytes, sizeof bytes, MSG_DONTWAIT);
	c->used = lv_now_ns();
	if (n >= 0)
		sendto(f->fd, bytes, (size_t)n, MSG_NOSIGNAL, (struct sockaddr *)&c->from, c->size);
}

static void serve_udp(void *context) {
	struct lv_forward *f = context;
	struct client clients[MAX_CLIENTS];
	for (int i = 0; i < MAX_CLIENTS; i++)
		clients[i].fd = -1;
	for (;;) {
		struct pollfd fds[MAX_CLIENTS + 2] = {{f->wake, POLLIN, 0}, {f->fd, POLLIN, 0}};
		for (int i = 0; i < MAX_CLIENTS; i++)
			fds[i + 2] = (struct pollfd){clients[i].fd, POLLIN, 0};
		if (poll(fds, MAX_CLIENTS + 2, -1) < 0 && errno != EINTR)
			break;
		if (fds[0].revents != 0)
			break;
		for (int i = 0; i < MAX_CLIENTS; i++)
			if (fds[i + 2].revents != 0)
				from_guest(f, &clients[i]);
		if (fds[1].revents != 0)
			from_outside(f, clients);
	}
	for (int i = 0; i < MAX_CLIENTS; i++)
		if (clients[i].fd >= 0)
			close(clients[i].fd);
}

static bool listen_at(struct lv_forward *f, const struct lv_rule *rule) {
	static const uint8_t any[16];
	struct sockaddr_storage at;
	socklen_t size = address(rule, any, rule->external, &at);
	int one = 1;
	f->fd = socket(at.ss_family, (rule->protocol == IPPROTO_TCP ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (f->fd < 0)
		return false;
	if (rule->protocol == IPPROTO_TCP)
		setsockopt(f->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (at.ss_family == AF_INET6)
		setsockopt(f->fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
	return bind(f->fd, (struct sockaddr *)&at, size) == 0 && (rule->protocol != IPPROTO_TCP || listen(f->fd, 128) == 0);
}

bool lv_forward_start(const struct net *net, const struct lv_rule *rule, struct lv_forward **forward) {
	*forward = NULL;
	if (net->tap == NULL)
		return true; // recorded; there is no way to the guest
	struct lv_forward *f = lv_alloc(sizeof *f);
	atomic_store(&f->refs, 1);
	f->length = address(rule, rule->address, rule->internal, &f->guest);
	f->fd = -1;
	f->wake = eventfd(0, EFD_CLOEXEC);
	if (f->wake < 0 || !listen_at(f, rule) || !lv_thread(&f->thread, rule->protocol == IPPROTO_TCP ? serve_tcp : serve_udp, f)) {
		unref(f);
		return false;
	}
	*forward = f;
	return true;
}

void lv_forward_stop(struct lv_forward *f) {
	uint64_t one = 1;
	if (f == NULL)
		return;
	if (write(f->wake, &one, sizeof one) != sizeof one)
		lv_die("port forwarding: eventfd: %s", strerror(errno));
	pthread_join(f->thread, NULL);
	shutdown(f->fd, SHUT_RDWR);
	unref(f); // connections that still run let go of it themselves
}
