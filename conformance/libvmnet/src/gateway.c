// The host's end of a network that has no tap: answers for the gateway.
#include <string.h>

#include "checksum.h"
#include "net.h"

static uint32_t load32(const uint8_t *at) {
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

void lv_gateway_reply_locked(struct net *net, const uint8_t *frame, size_t length) {
	struct lv_frame f = {frame, length, NULL};
	lv_hub_input_locked(net, &net->uplink, &f);
}

// turn exchanges the addresses of an Ethernet frame for the way back.
static void turn(const struct net *net, uint8_t *frame) {
	memcpy(frame, frame + 6, 6);
	memcpy(frame + 6, net->gateway_mac, 6);
}

static void arp(struct net *net, const uint8_t *frame, size_t length) {
	static const uint8_t request[8] = {0, 1, 8, 0, 6, 4, 0, 1}; // RFC 826: Ethernet, IPv4, request
	if (length < 42 || memcmp(frame + 14, request, 8) != 0 || load32(frame + 38) != net->gateway)
		return;
	uint8_t reply[60] = {0};
	memcpy(reply, frame, 42);
	turn(net, reply);
	reply[21] = 2;
	memcpy(reply + 22, net->gateway_mac, 6);
	memcpy(reply + 28, frame + 38, 4);
	memcpy(reply + 32, frame + 22, 10);
	lv_gateway_reply_locked(net, reply, sizeof reply);
}

static void echo4(struct net *net, const uint8_t *frame, size_t length) {
	uint8_t reply[LV_MAX_FRAME];
	size_t header = (size_t)(frame[14] & 15) * 4, total = (size_t)(frame[16] << 8 | frame[17]);
	if (header < 20 || total < header + 8 || total + 14 > length || frame[14 + header] != 8)
		return;
	memcpy(reply, frame, length);
	turn(net, reply);
	memcpy(reply + 26, frame + 30, 4);
	memcpy(reply + 30, frame + 26, 4);
	uint8_t *icmp = reply + 14 + header;
	icmp[0] = icmp[2] = icmp[3] = 0;
	uint16_t sum = lv_checksum_fold(lv_checksum_sum(icmp, total - header, 0));
	icmp[2] = (uint8_t)(sum >> 8);
	icmp[3] = (uint8_t)sum;
	lv_gateway_reply_locked(net, reply, length);
}

static void ipv4(struct net *net, const uint8_t *frame, size_t length) {
	if (length < 42)
		return;
	if (frame[23] == 17 && (frame[14] & 15) == 5 && frame[36] == 0 && frame[37] == 67)
		lv_dhcp_input_locked(net, frame, length);
	else if (net->tap == NULL && frame[23] == 1 && load32(frame + 30) == net->gateway)
		echo4(net, frame, length);
}

// With a tap the kernel answers for the gateway, but not for the DHCP server.
void lv_gateway_input_locked(struct net *net, const struct lv_frame *frame) {
	if (!atomic_load(&lv_knob.gateway) || frame->length < 14)
		return;
	const uint8_t *type = frame->bytes + 12;
	if (net->gateway != 0 && type[0] == 8 && type[1] == 6 && net->tap == NULL)
		arp(net, frame->bytes, frame->length);
	else if (net->gateway != 0 && type[0] == 8 && type[1] == 0)
		ipv4(net, frame->bytes, frame->length);
	else if (type[0] == 0x86 && type[1] == 0xdd && net->tap == NULL)
		lv_gateway6_input_locked(net, frame->bytes, frame->length);
}
