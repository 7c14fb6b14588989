// A DHCP server as small as can be, in the place of macOS' bootpd: leases from
// the address after the gateway's to the range's end, keyed by the client's
// identifier or, without one, by its MAC.
#include <string.h>

#include "checksum.h"
#include "../include/vmnet/vmnet.h"
#include "net.h"

// Offsets in a frame: Ethernet 14, IPv4 20, UDP 8, then BOOTP (RFC 951, 2131).
enum { BOOTP = 42, YIADDR = BOOTP + 16, CHADDR = BOOTP + 28, COOKIE = BOOTP + 236, OPTIONS = BOOTP + 240 };
enum { DISCOVER = 1, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM };

static const uint8_t *option(const uint8_t *frame, size_t length, uint8_t code, uint8_t *size) {
	for (size_t at = OPTIONS; at + 1 < length && frame[at] != 255;) {
		if (frame[at] == 0) {
			at++;
			continue;
		}
		size_t n = frame[at + 1];
		if (at + 2 + n > length)
			return NULL;
		if (frame[at] == code) {
			*size = (uint8_t)n;
			return frame + at + 2;
		}
		at += 2 + n;
	}
	return NULL;
}

static void store32(uint8_t *at, uint32_t value) {
	for (int i = 0; i < 4; i++)
		at[i] = (uint8_t)(value >> (24 - 8 * i));
}

static uint32_t load32(const uint8_t *at) {
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static bool reserved(const struct net *net, uint32_t address) {
	for (uint32_t i = 0; i < net->spec.reservations; i++)
		if (net->spec.reservation[i].address == address)
			return true;
	return false;
}

// lease_for gives the client's address, or 0 when the range is used up.
static uint32_t lease_for(struct net *net, const uint8_t *mac, uint64_t client) {
	for (uint32_t i = 0; i < net->spec.reservations; i++)
		if (memcmp(net->spec.reservation[i].mac, mac, 6) == 0)
			return net->spec.reservation[i].address;
	uint32_t first = net->gateway + 1, count = net->spec.end >= first ? net->spec.end - first + 1 : 0;
	struct lease *free_lease = NULL;
	for (uint32_t i = 0; i < count && i < LEASES; i++) {
		struct lease *l = &net->lease[i];
		if (l->used && l->client == client)
			return l->address;
		if (!l->used && free_lease == NULL && !reserved(net, first + i)) {
			free_lease = l;
			free_lease->address = first + i;
		}
	}
	if (free_lease == NULL)
		return 0;
	free_lease->used = true;
	free_lease->client = client;
	return free_lease->address;
}

static size_t add(uint8_t *frame, size_t at, uint8_t code, uint32_t value) {
	frame[at] = code;
	frame[at + 1] = 4;
	store32(frame + at + 2, value);
	return at + 6;
}

static size_t add_options(const struct net *net, uint8_t *frame, uint8_t type) {
	size_t at = OPTIONS;
	frame[at++] = 53;
	frame[at++] = 1;
	frame[at++] = type;
	at = add(frame, at, 54, net->gateway);
	if (type != NAK) {
		at = add(frame, at, 51, 86400);
		at = add(frame, at, 1, net->spec.mask);
		if (net->spec.mode == VMNET_SHARED_MODE) // host mode tells no router
			at = add(frame, at, 3, net->gateway);
		if (!net->spec.no_dns)
			at = add(frame, at, 6, net->gateway);
	}
	frame[at++] = 255;
	return at < OPTIONS + 64 ? OPTIONS + 64 : at;
}

static void send_reply(struct net *net, const uint8_t *request, uint8_t type, uint32_t address) {
	uint8_t frame[OPTIONS + 128] = {0};
	bool broadcast = type == NAK || (request[BOOTP + 10] & 0x80) != 0;
	memset(frame, 0xff, 6);
	if (!broadcast)
		memcpy(frame, request + CHADDR, 6);
	memcpy(frame + 6, net->gateway_mac, 6);
	frame[12] = 8;
	memcpy(frame + BOOTP, request + BOOTP, 44); // header, client's addresses
	frame[BOOTP] = 2;
	store32(frame + YIADDR, type == NAK ? 0 : address);
	store32(frame + YIADDR + 4, net->gateway);
	store32(frame + COOKIE, 0x63825363);
	size_t length = add_options(net, frame, type), ip = length - 14;
	frame[14] = 0x45;
	frame[16] = (uint8_t)(ip >> 8);
	frame[17] = (uint8_t)ip;
	frame[22] = 64;
	frame[23] = 17;
	store32(frame + 26, net->gateway);
	store32(frame + 30, broadcast ? 0xffffffffu : address);
	frame[35] = 67;
	frame[37] = 68;
	frame[38] = (uint8_t)((ip - 20) >> 8);
	frame[39] = (uint8_t)(ip - 20);
	lv_checksum_fill(frame, length);
	lv_gateway_reply_locked(net, frame, length);
}

static uint8_t answer_type(const struct net *net, const uint8_t *frame, size_t length, uint8_t type, uint32_t address) {
	uint8_t size;
	if (type == DISCOVER)
		return OFFER;
	if (type == INFORM)
		return ACK;
	const uint8_t *server = option(frame, length, 54, &size);
	if (server != NULL && size == 4 && load32(server) != net->gateway)
		return 0; // meant for somebody else
	const uint8_t *wanted = option(frame, length, 50, &size);
	uint32_t want = wanted != NULL && size == 4 ? load32(wanted) : load32(frame + BOOTP + 12);
	return want == address ? ACK : NAK;
}

void lv_dhcp_input_locked(struct net *net, const uint8_t *frame, size_t length) {
	if (net->spec.no_dhcp || net->gateway == 0 || !atomic_load(&lv_knob.dhcp) || length < OPTIONS + 4 || frame[BOOTP] != 1)
		return;
	uint8_t size, id_size;
	const uint8_t *type = option(frame, length, 53, &size), *id = option(frame, length, 61, &id_size);
	if (type == NULL || size != 1 || (*type != DISCOVER && *type != REQUEST && *type != INFORM))
		return;
	uint64_t client = id != NULL ? lv_hash(id, id_size, 2) : lv_hash(frame + CHADDR, 6, 3);
	uint32_t address = *type == INFORM ? load32(frame + BOOTP + 12) : lease_for(net, frame + CHADDR, client);
	uint8_t answer = address == 0 ? 0 : answer_type(net, frame, length, *type, address);
	if (answer != 0)
		send_reply(net, frame, answer, address);
}
