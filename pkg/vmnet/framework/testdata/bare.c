// What a relay cannot beat: the process at the other end of the guest's datagram
// socket, fd 3, does nothing but to empty it ("1"), to fill it with frames of
// argv[2] bytes ("2"), or to send every frame back ("3"), in batches of up to 64
// (16 of more than 2 KiB).
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum { GUEST = 3, MOST = 64 };

int main(int argc, char **argv) {
	if (argc != 3)
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
