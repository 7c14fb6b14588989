// What a relay cannot beat: the process at the other end of the guest's datagram
// socket, fd 3, does nothing but to empty it ("1"), to fill it with frames of
// argv[2] bytes ("2"), or to send every frame back ("3"), in batches of up to 64
// (16 of more than 2 KiB). With a third argument fd 3 is a stream: it is emptied
// in reads of 512 KiB, or filled with writes of a whole batch of frames, each with
// its length before it.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum { GUEST = 3, MOST = 64 };

// stream empties or fills a stream.
static int stream(char mode, size_t size, unsigned most) {
	size_t room = 512 << 10, length = mode == '2' ? (size + 4) * most : room;
	char *bytes = calloc(1, length);
	for (unsigned i = 0; mode == '2' && i < most; i++) {
		unsigned char prefix[4] = {size >> 24, size >> 16, size >> 8, size};
		memcpy(bytes + i * (size + 4), prefix, sizeof prefix);
	}
	for (size_t at = 0;;) {
		ssize_t n = mode == '2' ? write(GUEST, bytes + at, length - at) : read(GUEST, bytes, length);
		if (n <= 0)
			return 0;
		at = (at + (size_t)n) % length;
	}
}

int main(int argc, char **argv) {
	if (argc < 3)
		return 2;
	size_t size = (size_t)atoi(argv[2]);
	unsigned most = size > 2048 ? 16 : MOST;
	struct iovec iovs[MOST];
	struct mmsghdr msgs[MOST] = {0};
	for (unsigned i = 0; i < most; i++) {
		iovs[i] = (struct iovec){calloc(1, size), size};
		msgs[i].msg_hdr.msg_iov = &iovs[i];
		msgs[i].msg_hdr.msg_iovlen = 1;
	}
	fcntl(GUEST, F_SETFL, fcntl(GUEST, F_GETFL) & ~O_NONBLOCK);
	if (argc > 3)
		return stream(argv[1][0], size, most);
	for (;;) {
		int n = argv[1][0] == '2' ? (int)most : recvmmsg(GUEST, msgs, most, MSG_WAITFORONE, NULL);
		if (n < 1 || (argv[1][0] != '2' && msgs[0].msg_len == 0))
			return 0;
		for (int sent = 0; argv[1][0] != '1' && sent < n;) {
			int k = sendmmsg(GUEST, msgs + sent, (unsigned)(n - sent), 0);
			if (k < 0)
				return 0;
			sent += k;
		}
	}
}
