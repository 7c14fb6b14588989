// The broker: the core for many processes, in the place of macOS' daemon. It is
// a program of its own, so that no client's death takes the others' networks.
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base.h"
#include "transport.h"

static void serve_requests(int fd) {
	struct lv_client *client = lv_core_client();
	struct lv_request *request = lv_alloc(sizeof *request);
	struct lv_answer *answer = lv_alloc(sizeof *answer);
	while (recv(fd, request, sizeof *request, 0) == sizeof *request && request->magic == LV_MAGIC) {
		lv_core_call(client, request, answer);
		if (send(fd, answer, sizeof *answer, MSG_NOSIGNAL) != sizeof *answer)
			break;
	}
	lv_core_client_gone(client);
	free(request);
	free(answer);
}

static void to_client(void *context, const struct lv_frame *frame) {
	struct msghdr message;
	struct iovec parts[2];
	struct lv_frame_header header;
	lv_frame_message(&message, parts, &header, frame);
	if (sendmsg(*(int *)context, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		atomic_fetch_add(&lv_count.drop_transport, 1);
}

#define BATCH 32

static void serve_port(int fd, const struct lv_hello *hello) {
	uint64_t port = hello->port;
	// Attached before the answer: no frame may be lost after it.
	if (!lv_core_attach(port, to_client, &fd) || send(fd, hello, sizeof *hello, MSG_NOSIGNAL) != sizeof *hello) {
		lv_core_attach(port, NULL, NULL);
		return;
	}
	const size_t size = sizeof(struct lv_frame_header) + LV_MAX_FRAME;
	uint8_t *bytes = lv_alloc(size * BATCH);
	struct mmsghdr messages[BATCH];
	struct iovec parts[BATCH];
	for (;;) {
		memset(messages, 0, sizeof messages);
		for (int i = 0; i < BATCH; i++) {
			parts[i] = (struct iovec){bytes + (size_t)i * size, size};
			messages[i].msg_hdr.msg_iov = &parts[i];
			messages[i].msg_hdr.msg_iovlen = 1;
		}
		int n = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0 || messages[0].msg_len == 0)
			break;
		struct lv_frame frames[BATCH];
		size_t count = 0;
		for (int i = 0; i < n; i++)
			if (lv_frame_parse(parts[i].iov_base, messages[i].msg_len, &frames[count]))
				count++;
		lv_core_send(port, frames, count);
	}
	lv_core_attach(port, NULL, NULL);
	free(bytes);
}

static void serve(void *context) {
	int fd = (int)(intptr_t)context, size = LV_SOCKET_BUFFER;
	struct lv_hello hello;
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
	bool ok = recv(fd, &hello, sizeof hello, 0) == sizeof hello && hello.magic == LV_MAGIC && hello.request_size == sizeof(struct lv_request) &&
	          hello.answer_size == sizeof(struct lv_answer);
	if (ok && hello.port != 0)
		serve_port(fd, &hello);
	else if (ok && send(fd, &hello, sizeof hello, MSG_NOSIGNAL) == sizeof hello)
		serve_requests(fd);
	close(fd);
}

static int listen_at(const char *path) {
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof address.sun_path) {
		errno = ENAMETOOLONG;
		return -1;
	}
	strcpy(address.sun_path, path);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	unlink(path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 128) < 0)
		return -1;
	return fd;
}

int main(int argc, char **argv) {
	if (argc != 2) {
		fprintf(stderr, "usage: libvmnet-broker SOCKET\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	int listener = listen_at(argv[1]);
	if (listener < 0) {
		fprintf(stderr, "libvmnet-broker: %s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	// Whoever started it waits for this line: from now on clients may connect.
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0 && !lv_thread(NULL, serve, (void *)(intptr_t)fd))
			close(fd);
		else if (fd < 0 && errno != EINTR && errno != ECONNABORTED)
			return 1;
	}
}
