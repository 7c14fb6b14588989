// What the files of the core share.
#ifndef LV_NET_H
#define LV_NET_H

#include "base.h"
#include "core.h"

#define MAX_PORTS 4096
#define FDB_SIZE 1024
#define LEASES 1024

struct net;

struct port {
	uint64_t id; // generation and index; 0 = free
	struct net *net;
	struct lv_client *client;
	struct port *next; // on the network
	bool isolated;
	uint8_t mac[6], iface_id[16];
	lv_receive receive; // NULL until attached
	void *context;
};

struct lease {
	uint32_t address;
	bool used;
	uint64_t client; // hash of the client's identifier
};

struct tap;

struct net {
	uint64_t id;
	struct net *next;
	struct lv_net_spec spec; // with the addresses that were chosen
	uint32_t gateway;        // the host's address; 0 = none
	uint8_t gateway_mac[6], token[16];
	int refs; // interfaces, and holders of a logical network
	bool is_default; // the classic one without addresses
	bool orphan;     // its creator is gone
	struct lv_client *owner;
	struct port *ports;
	struct port uplink; // pseudo port of the gateway or the tap
	struct tap *tap;
	pthread_mutex_t mu; // guards fdb and leases, held while frames move
	struct {
		uint8_t mac[6];
		struct port *port;
	} fdb[FDB_SIZE];
	struct lease lease[LEASES];
	uint32_t rules;
	struct lv_rule rule[LV_RULES];
	struct lv_forward *forward[LV_RULES]; // beside each rule; NULL = only recorded
};

// hub.c: switching. With net->mu held.
void lv_hub_input_locked(struct net *net, struct port *from, const struct lv_frame *frame);
void lv_hub_forget_locked(struct net *net, const struct port *port);

// gateway.c, gateway6.c, dhcp.c: the host's end of a network without a tap:
// answers ARP, neighbour solicitation and echo requests for the gateway, router
// solicitations, and is the DHCP server.
void lv_gateway_input_locked(struct net *net, const struct lv_frame *frame);
void lv_gateway6_input_locked(struct net *net, const uint8_t *frame, size_t length);
void lv_dhcp_input_locked(struct net *net, const uint8_t *frame, size_t length);
// lv_gateway_reply_locked sends a frame from the gateway's port.
void lv_gateway_reply_locked(struct net *net, const uint8_t *frame, size_t length);

// subnet.c: validity and choice of addresses; nets is the list of all.
uint32_t lv_subnet_settle(struct lv_net_spec *spec, uint32_t *gateway, const struct net *nets);

// tap.c: the kernel as the host's end; NULL when none is asked for or free.
struct tap *lv_tap_open(struct net *net);
void lv_tap_close(struct tap *tap);
void lv_tap_write(struct tap *tap, const struct lv_frame *frame);
// forward.c: serves a rule; false: its port is taken. *forward may stay NULL.
struct lv_forward;
bool lv_forward_start(const struct net *net, const struct lv_rule *rule, struct lv_forward **forward);
void lv_forward_stop(struct lv_forward *forward);

// lv_net_tap_input is what the tap's reader calls.
void lv_net_tap_input(struct net *net, const struct lv_frame *frame);

#endif
