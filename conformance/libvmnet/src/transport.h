// The way to the core: in this process, or in a broker whose socket
// LIBVMNET_BROKER names. One SOCK_SEQPACKET connection carries requests, and one
// for each port its frames.
#ifndef LV_TRANSPORT_H
#define LV_TRANSPORT_H

#include "core.h"

// The first message of a connection, and the broker's answer to it.
struct lv_hello {
	uint32_t magic, request_size, answer_size;
	uint64_t port; // 0: a connection for requests
};

// What precedes a frame on a port's connection.
struct lv_frame_header {
	uint32_t has_vhdr;
	uint8_t vhdr[LV_VHDR];
};
#define LV_SOCKET_BUFFER (4 << 20)

// lv_call never fails: a broker that is not there is answered with VMNET_FAILURE.
void lv_call(const struct lv_request *request, struct lv_answer *answer);

// A link is a port's way for frames.
struct lv_link;
struct lv_link *lv_attach(uint64_t port, lv_receive receive, void *context);
// lv_detach ends it: no receive runs or follows after it, and lv_send does
// nothing more. Its memory stays until lv_link_free.
void lv_detach(struct lv_link *link);
void lv_send(struct lv_link *link, const struct lv_frame *frames, size_t count);
void lv_link_free(struct lv_link *link);

// lv_frame_message fills a message for a frame; parts has two elements.
struct msghdr;
struct iovec;
void lv_frame_message(struct msghdr *message, struct iovec *parts, struct lv_frame_header *header, const struct lv_frame *frame);
// lv_frame_parse reads one; false: not a frame.
bool lv_frame_parse(const uint8_t *bytes, size_t length, struct lv_frame *frame);

#endif
