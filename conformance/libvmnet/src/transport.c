#define _GNU_SOURCE
#include "transport.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../include/vmnet/vmnet.h"
#include "base.h"

struct lv_link {
	uint64_t port;
	pthread_rwlock_t mu; // guards fd and open against a late sender
	bool open;
	int fd; // to the broker, or -1
	pthread_t reader;
	lv_receive receive;
	void *context;
};

static struct lv_client *local_client;
static pthread_once_t local_once = PTHREAD_ONCE_INIT;

static void make_local_client(void) {
	local_client = lv_core_client();
}

static const char *broker(void) {
	const char *path = getenv("LIBVMNET_BROKER");
	return path != NULL && *path != '\0' ? path : NULL;
}

void lv_frame_message(struct msghdr *message, struct iovec *parts, struct lv_frame_header *header, const struct lv_frame *frame) {
	memset(header, 0, sizeof *header);
	header->has_vhdr = frame->vhdr != NULL;
	if (frame->vhdr != NULL)
		memcpy(header->vhdr, frame->vhdr, LV_VHDR);
	parts[0] = (struct iovec){header, sizeof *header};
	parts[1] = (struct iovec){(void *)(uintptr_t)frame->bytes, frame->length};
	memset(message, 0, sizeof *message);
	message->msg_iov = parts;
	message->msg_iovlen = 2;
}

bool lv_frame_parse(const uint8_t *bytes, size_t length, struct lv_frame *frame) {
	struct lv_frame_header header;
	if (length < sizeof header + 14 || length > sizeof header + LV_MAX_FRAME)
		return false;
	memcpy(&header, bytes, sizeof header);
	frame->vhdr = header.has_vhdr ? bytes + offsetof(struct lv_frame_header, vhdr) : NULL;
	frame->bytes = bytes + sizeof header;
	frame->length = length - sizeof header;
	return true;
}

// dial connects and says hello; -1 with a line on standard error.
static int dial(const char *path, uint64_t port) {
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), size = LV_SOCKET_BUFFER;
	struct lv_hello hello = {LV_MAGIC, sizeof(struct lv_request), sizeof(struct lv_answer), port}, answer;
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0) {
		// A send waits this long for the broker, then the frame is dropped.
		struct timeval patience = {0, 200000};
		setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
		if (send(fd, &hello, sizeof hello, MSG_NOSIGNAL) == sizeof hello && recv(fd, &answer, sizeof answer, 0) == sizeof answer &&
		    memcmp(&hello, &answer, sizeof hello) == 0)
			return fd;
	}
	dprintf(STDERR_FILENO, "libvmnet: broker %s: %s\n", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

static pthread_mutex_t call_mu = PTHREAD_MUTEX_INITIALIZER; // guards call_fd and its use
static int call_fd = -1;

static void call_broker(const char *path, const struct lv_request *request, struct lv_answer *answer) {
	pthread_mutex_lock(&call_mu);
	if (call_fd < 0)
		call_fd = dial(path, 0);
	bool ok = call_fd >= 0 && send(call_fd, request, sizeof *request, MSG_NOSIGNAL) == sizeof *request &&
	          recv(call_fd, answer, sizeof *answer, 0) == sizeof *answer && answer->magic == LV_MAGIC;
	if (!ok) {
		if (call_fd >= 0)
			close(call_fd);
		call_fd = -1;
		memset(answer, 0, sizeof *answer);
		answer->status = VMNET_FAILURE;
	}
	pthread_mutex_unlock(&call_mu);
}

void lv_call(const struct lv_request *request, struct lv_answer *answer) {
	const char *path = broker();
	if (path != NULL) {
		call_broker(path, request, answer);
		return;
	}
	pthread_once(&local_once, make_local_client);
	lv_core_call(local_client, request, answer);
}

static void read_link(void *context) {
	struct lv_link *link = context;
	size_t size = sizeof(struct lv_frame_header) + LV_MAX_FRAME;
	uint8_t *bytes = lv_alloc(size);
	for (;;) {
		ssize_t n = recv(link->fd, bytes, size, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		struct lv_frame frame;
		if (lv_frame_parse(bytes, (size_t)n, &frame))
			link->receive(link->context, &frame);
	}
	free(bytes);
}

struct lv_link *lv_attach(uint64_t port, lv_receive receive, void *context) {
	struct lv_link *link = lv_alloc(sizeof *link);
	*link = (struct lv_link){.port = port, .open = true, .fd = -1, .receive = receive, .context = context};
	pthread_rwlock_init(&link->mu, NULL);
	const char *path = broker();
	if (path == NULL) {
		if (lv_core_attach(port, receive, context))
			return link;
		free(link);
		return NULL;
	}
	link->fd = dial(path, port);
	if (link->fd >= 0 && lv_thread(&link->reader, read_link, link))
		return link;
	if (link->fd >= 0)
		close(link->fd);
	free(link);
	return NULL;
}

void lv_detach(struct lv_link *link) {
	if (link->fd >= 0) {
		shutdown(link->fd, SHUT_RDWR); // ends the reader, and a sender that waits
		pthread_join(link->reader, NULL);
	} else {
		lv_core_attach(link->port, NULL, NULL);
	}
	pthread_rwlock_wrlock(&link->mu);
	link->open = false;
	if (link->fd >= 0)
		close(link->fd);
	pthread_rwlock_unlock(&link->mu);
}

void lv_link_free(struct lv_link *link) {
	if (link == NULL)
		return;
	pthread_rwlock_destroy(&link->mu);
	free(link);
}

static void send_broker(const struct lv_link *link, const struct lv_frame *frames, size_t count) {
	struct mmsghdr messages[64];
	struct iovec parts[64][2];
	struct lv_frame_header headers[64];
	while (count > 0) {
		unsigned n = count < 64 ? (unsigned)count : 64, done = 0;
		for (unsigned i = 0; i < n; i++)
			lv_frame_message(&messages[i].msg_hdr, parts[i], &headers[i], &frames[i]);
		while (done < n) {
			int sent = sendmmsg(link->fd, messages + done, n - done, MSG_NOSIGNAL);
			if (sent > 0) {
				done += (unsigned)sent;
				continue;
			}
			if (errno == EINTR)
				continue;
			atomic_fetch_add(&lv_count.drop_transport, n - done);
			break;
		}
		frames += n;
		count -= n;
	}
}

void lv_send(struct lv_link *link, const struct lv_frame *frames, size_t count) {
	pthread_rwlock_rdlock(&link->mu);
	if (link->open && link->fd >= 0)
		send_broker(link, frames, count);
	else if (link->open)
		lv_core_send(link->port, frames, count);
	pthread_rwlock_unlock(&link->mu);
}
