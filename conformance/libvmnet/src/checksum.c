#include "checksum.h"

#include <string.h>

uint32_t lv_checksum_sum(const uint8_t *bytes, size_t length, uint32_t sum) {
	for (; length > 1; length -= 2, bytes += 2)
		sum += (uint32_t)(bytes[0] << 8 | bytes[1]);
	return length == 1 ? sum + (uint32_t)(bytes[0] << 8) : sum;
}

uint16_t lv_checksum_fold(uint32_t sum) {
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static void store(uint8_t *at, uint16_t value) {
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

// fill_transport finishes TCP or UDP; addresses is the part of the pseudo
// header that differs between IPv4 and IPv6.
static void fill_transport(uint8_t *segment, size_t length, uint8_t protocol, const uint8_t *addresses, size_t addresses_length) {
	size_t at = protocol == 6 ? 16 : 6;
	if ((protocol != 6 && protocol != 17) || length < at + 2)
		return;
	store(segment + at, 0);
	uint32_t sum = lv_checksum_sum(addresses, addresses_length, (uint32_t)length + protocol);
	uint16_t result = lv_checksum_fold(lv_checksum_sum(segment, length, sum));
	store(segment + at, protocol == 17 && result == 0 ? 0xffff : result);
}

static void fill_ipv4(uint8_t *ip, size_t length) {
	size_t header = (size_t)(ip[0] & 15) * 4, total = (size_t)(ip[2] << 8 | ip[3]);
	if (header < 20 || total < header || total > length)
		return;
	store(ip + 10, 0);
	store(ip + 10, lv_checksum_fold(lv_checksum_sum(ip, header, 0)));
	if ((ip[6] & 0x3f) == 0 && ip[7] == 0) // not a fragment
		fill_transport(ip + header, total - header, ip[9], ip + 12, 8);
}

void lv_checksum_fill(uint8_t *frame, size_t length) {
	if (length >= 34 && frame[12] == 0x08 && frame[13] == 0x00)
		fill_ipv4(frame + 14, length - 14);
	if (length < 54 || frame[12] != 0x86 || frame[13] != 0xdd)
		return;
	size_t payload = (size_t)(frame[18] << 8 | frame[19]);
	if (payload <= length - 54)
		fill_transport(frame + 54, payload, frame[20], frame + 22, 32);
}

// struct virtio_net_hdr_v1: flags, gso type, then 16-bit little endian header
// length, segment size, start and offset of the checksum, number of buffers.
bool lv_checksum_partial(uint8_t *frame, size_t length, const uint8_t *vhdr) {
	if ((vhdr[0] & 1) == 0) // VIRTIO_NET_HDR_F_NEEDS_CSUM
		return true;
	size_t start = (size_t)(vhdr[6] | vhdr[7] << 8), offset = (size_t)(vhdr[8] | vhdr[9] << 8);
	if (start + offset + 2 > length)
		return false;
	uint16_t result = lv_checksum_fold(lv_checksum_sum(frame + start, length - start, 0));
	store(frame + start + offset, result);
	return true;
}

void lv_checksum_reopen(uint8_t *frame, size_t length, const uint8_t *vhdr) {
	size_t start = (size_t)(vhdr[6] | vhdr[7] << 8), offset = (size_t)(vhdr[8] | vhdr[9] << 8);
	if ((vhdr[0] & 1) == 0 || start + offset + 2 > length || offset % 2 != 0)
		return;
	// The checksum is the complement of what was there and the sum of all else.
	uint8_t *at = frame + start + offset;
	uint16_t all = (uint16_t)~(at[0] << 8 | at[1]);
	store(at, 0);
	uint16_t less = lv_checksum_fold(lv_checksum_sum(frame + start, length - start, 0));
	store(at, (uint16_t)~lv_checksum_fold((uint32_t)all + less));
}
