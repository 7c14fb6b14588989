// A learning switch without ageing: entries go with their port.
#include <string.h>

#include "net.h"

static unsigned bucket(const uint8_t *mac) {
	return (unsigned)(lv_hash(mac, 6, 0) >> 48) % FDB_SIZE;
}

static void learn(struct net *net, const uint8_t *mac, struct port *port) {
	if ((mac[0] & 1) != 0)
		return;
	unsigned at = bucket(mac), free_at = at;
	for (unsigned i = 0; i < 8; i++) {
		unsigned j = (at + i) % FDB_SIZE;
		if (net->fdb[j].port != NULL && memcmp(net->fdb[j].mac, mac, 6) == 0) {
			net->fdb[j].port = port;
			return;
		}
		if (net->fdb[j].port == NULL && net->fdb[free_at].port != NULL)
			free_at = j;
	}
	memcpy(net->fdb[free_at].mac, mac, 6);
	net->fdb[free_at].port = port;
}

static struct port *lookup(const struct net *net, const uint8_t *mac) {
	unsigned at = bucket(mac);
	for (unsigned i = 0; i < 8; i++) {
		unsigned j = (at + i) % FDB_SIZE;
		if (net->fdb[j].port != NULL && memcmp(net->fdb[j].mac, mac, 6) == 0)
			return net->fdb[j].port;
	}
	return NULL;
}

void lv_hub_forget_locked(struct net *net, const struct port *port) {
	for (unsigned i = 0; i < FDB_SIZE; i++)
		if (net->fdb[i].port == port)
			net->fdb[i].port = NULL;
}

static void give(struct net *net, struct port *from, struct port *to, const struct lv_frame *frame) {
	// Isolation is the bridge's PRIVATE flag: no frames between two such ports.
	if (to == from || (to->isolated && from->isolated))
		return;
	if (to == &net->uplink) {
		if (net->tap != NULL)
			lv_tap_write(net->tap, frame);
		lv_gateway_input_locked(net, frame);
	} else if (to->receive != NULL) {
		to->receive(to->context, frame);
	}
}

void lv_hub_input_locked(struct net *net, struct port *from, const struct lv_frame *frame) {
	const uint8_t *destination = frame->bytes;
	learn(net, destination + 6, from);
	if ((destination[0] & 1) == 0) {
		struct port *to = lookup(net, destination);
		if (to != NULL) {
			give(net, from, to, frame);
			return;
		}
	}
	for (struct port *to = net->ports; to != NULL; to = to->next)
		give(net, from, to, frame);
	give(net, from, &net->uplink, frame);
}
