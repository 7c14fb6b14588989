// The core: networks, their interfaces' ports, and the switching of frames. It
// runs inside the client's process, or in a broker for many processes; requests
// and answers are plain structures that travel between processes as they are
// (both ends are built from the same source; magic and size are checked).
#ifndef LV_CORE_H
#define LV_CORE_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LV_NAME 16
#define LV_RULES 64
#define LV_RESERVATIONS 64
#define LV_MAX_FRAME 65550 // 65536 and an Ethernet header
#define LV_VHDR 12         // struct virtio_net_hdr_v1

enum lv_kind { LV_CLASSIC, LV_IDENTIFIED, LV_BRIDGED, LV_LOGICAL };

struct lv_rule {
	uint8_t protocol, family; // family with Darwin's number
	uint16_t external, internal;
	uint8_t address[16];
	uint64_t port; // owner: an interface, or 0 = the network
};

struct lv_reservation {
	uint8_t mac[6];
	uint32_t address; // host order, as all IPv4 addresses here
};

struct lv_net_spec {
	uint32_t mode;
	uint32_t kind;
	bool no_dhcp, no_dns, no_nat44, no_nat66, no_ra, have_prefix, root;
	uint32_t start, end, mask; // 0 = choose; logical: start is the address that was given
	uint32_t mtu;
	char uplink[LV_NAME];
	uint8_t identifier[16];
	uint8_t prefix[16];
	uint32_t reservations, rules;
	struct lv_reservation reservation[LV_RESERVATIONS];
	struct lv_rule rule[LV_RULES];
};

struct lv_port_spec {
	bool have_id, isolated;
	uint8_t id[16];
	uint32_t max_frame; // without a virtio header
};

enum lv_request_op {
	LV_OP_START = 1,
	LV_OP_START_LOGICAL,
	LV_OP_STOP,
	LV_OP_NETWORK_CREATE,
	LV_OP_NETWORK_OPEN,
	LV_OP_NETWORK_RELEASE,
	LV_OP_RULE_ADD,
	LV_OP_RULE_REMOVE,
	LV_OP_RULE_LIST,
};

struct lv_request {
	uint32_t magic, op;
	uint64_t handle; // port, or network
	uint8_t token[16];
	struct lv_net_spec net;
	struct lv_port_spec port;
	struct lv_rule rule;
};

struct lv_answer {
	uint32_t magic, status; // vmnet_return_t
	uint64_t handle;
	uint8_t token[16];
	uint32_t mode, start, end, mask, mtu;
	uint8_t prefix[16], mac[6], id[16];
	uint32_t rules;
	struct lv_rule rule[LV_RULES];
};
#define LV_MAGIC 0x6c766e34u

struct lv_frame {
	const uint8_t *bytes;
	size_t length;
	const uint8_t *vhdr; // LV_VHDR bytes or NULL
};

// lv_receive takes a frame for a port; it runs with the network's lock held and
// must not call back into the core.
typedef void (*lv_receive)(void *context, const struct lv_frame *frame);

// A client is one process; what it owns goes when it goes.
struct lv_client;
struct lv_client *lv_core_client(void);
void lv_core_client_gone(struct lv_client *client);
void lv_core_call(struct lv_client *client, const struct lv_request *request, struct lv_answer *answer);

// lv_core_attach names who gets a port's frames; false: no such port.
bool lv_core_attach(uint64_t port, lv_receive receive, void *context);
// lv_core_send switches frames that a port's owner sent.
void lv_core_send(uint64_t port, const struct lv_frame *frames, size_t count);

// The names that bridged mode accepts; n of them, LV_NAME bytes each.
size_t lv_bridges(char names[][LV_NAME], size_t n);

#endif
