// IPv6 of the host's end of a network without a tap: neighbour solicitations
// (RFC 4861), echo requests (RFC 4443), and router advertisements on request.
#include <string.h>

#include "../include/vmnet/vmnet.h"
#include "checksum.h"
#include "net.h"

// Offsets in a frame.
enum { IP6 = 14, SOURCE = IP6 + 8, DESTINATION = IP6 + 24, ICMP = IP6 + 40 };
enum { ECHO_REQUEST = 128, ECHO_REPLY, SOLICIT_ROUTER = 133, ADVERTISE_ROUTER, SOLICIT_NEIGHBOUR, ADVERTISE_NEIGHBOUR };

static void link_local(const struct net *net, uint8_t address[16]) {
	const uint8_t *mac = net->gateway_mac;
	const uint8_t made[16] = {0xfe, 0x80, 0, 0, 0, 0, 0, 0, mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]};
	memcpy(address, made, 16);
}

static void global(const struct net *net, uint8_t address[16]) {
	memcpy(address, net->spec.prefix, 16);
	if (net->spec.kind != LV_IDENTIFIED) // there the address itself was given
		address[15] = 1;
}

static bool ours(const struct net *net, const uint8_t *address) {
	uint8_t own[16];
	link_local(net, own);
	if (memcmp(address, own, 16) == 0)
		return true;
	global(net, own);
	return memcmp(address, own, 16) == 0;
}

// reply sends an ICMPv6 message of length bytes that stands at frame + ICMP.
static void reply(struct net *net, uint8_t *frame, const uint8_t *request, const uint8_t source[16], uint8_t hops, size_t length) {
	static const uint8_t nobody[16], all_nodes[16] = {0xff, 2, [15] = 1};
	bool anonymous = memcmp(request + SOURCE, nobody, 16) == 0;
	memcpy(frame, anonymous ? (const uint8_t *)"\x33\x33\0\0\0\1" : request + 6, 6);
	memcpy(frame + 6, net->gateway_mac, 6);
	memcpy(frame + 12, "\x86\xdd\x60\0\0\0", 6);
	frame[IP6 + 4] = (uint8_t)(length >> 8);
	frame[IP6 + 5] = (uint8_t)length;
	frame[IP6 + 6] = 58;
	frame[IP6 + 7] = hops;
	memcpy(frame + SOURCE, source, 16);
	memcpy(frame + DESTINATION, anonymous ? all_nodes : request + SOURCE, 16);
	frame[ICMP + 2] = frame[ICMP + 3] = 0;
	uint32_t sum = lv_checksum_sum(frame + SOURCE, 32, (uint32_t)length + 58);
	uint16_t result = lv_checksum_fold(lv_checksum_sum(frame + ICMP, length, sum));
	frame[ICMP + 2] = (uint8_t)(result >> 8);
	frame[ICMP + 3] = (uint8_t)result;
	lv_gateway_reply_locked(net, frame, ICMP + length);
}

static void advertise_neighbour(struct net *net, const uint8_t *request, size_t length) {
	if (length < 24 || !ours(net, request + ICMP + 8))
		return;
	uint8_t frame[ICMP + 32] = {0};
	uint8_t *icmp = frame + ICMP;
	icmp[0] = ADVERTISE_NEIGHBOUR;
	icmp[4] = 0xe0; // router, solicited, override
	memcpy(icmp + 8, request + ICMP + 8, 16);
	icmp[24] = 2; // target's link-layer address
	icmp[25] = 1;
	memcpy(icmp + 26, net->gateway_mac, 6);
	reply(net, frame, request, request + ICMP + 8, 255, 32);
}

static void advertise_router(struct net *net, const uint8_t *request) {
	if (net->spec.no_ra || !atomic_load(&lv_knob.ra) || net->spec.mode != VMNET_SHARED_MODE)
		return;
	uint8_t frame[ICMP + 64] = {0}, source[16];
	uint8_t *icmp = frame + ICMP;
	icmp[0] = ADVERTISE_ROUTER;
	icmp[4] = 64;
	icmp[6] = 1800 >> 8;
	icmp[7] = 1800 & 255;
	icmp[16] = 1; // source's link-layer address
	icmp[17] = 1;
	memcpy(icmp + 18, net->gateway_mac, 6);
	icmp[24] = 5; // MTU
	icmp[25] = 1;
	icmp[30] = (uint8_t)(net->spec.mtu >> 8);
	icmp[31] = (uint8_t)net->spec.mtu;
	memcpy(icmp + 32, "\3\4\x40\xc0", 4); // prefix of 64 bits, on link, for addresses
	icmp[37] = icmp[41] = 1;              // valid and preferred for 65536 s
	memcpy(icmp + 48, net->spec.prefix, 8);
	link_local(net, source);
	reply(net, frame, request, source, 255, 64);
}

static void echo6(struct net *net, const uint8_t *request, size_t length) {
	if (length < 8 || !ours(net, request + DESTINATION))
		return;
	uint8_t frame[LV_MAX_FRAME];
	memcpy(frame + ICMP, request + ICMP, length);
	frame[ICMP] = ECHO_REPLY;
	reply(net, frame, request, request + DESTINATION, 64, length);
}

void lv_gateway6_input_locked(struct net *net, const uint8_t *frame, size_t length) {
	if (length < ICMP + 8 || frame[IP6 + 6] != 58 || (net->spec.mode != VMNET_SHARED_MODE && !net->spec.have_prefix))
		return;
	size_t payload = (size_t)(frame[IP6 + 4] << 8 | frame[IP6 + 5]);
	if (payload < 8 || payload > length - ICMP)
		return;
	switch (frame[ICMP]) {
	case SOLICIT_NEIGHBOUR:
		advertise_neighbour(net, frame, payload);
		break;
	case SOLICIT_ROUTER:
		advertise_router(net, frame);
		break;
	case ECHO_REQUEST:
		echo6(net, frame, payload);
		break;
	}
}
