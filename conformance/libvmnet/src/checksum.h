// Internet checksums that a client left to the interface.
#ifndef LV_CHECKSUM_H
#define LV_CHECKSUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// lv_checksum_sum adds bytes to a running ones' complement sum.
uint32_t lv_checksum_sum(const uint8_t *bytes, size_t length, uint32_t sum);
uint16_t lv_checksum_fold(uint32_t sum);
// lv_checksum_fill sets the IPv4 header's, TCP's and UDP's checksum of an
// Ethernet frame; fragments and other protocols stay as they are.
void lv_checksum_fill(uint8_t *frame, size_t length);
// lv_checksum_partial completes the one that a virtio header asks for; false:
// the header points outside the frame.
bool lv_checksum_partial(uint8_t *frame, size_t length, const uint8_t *vhdr);
// lv_checksum_reopen takes back what lv_checksum_partial did, for a receiver that
// gets the header too.
void lv_checksum_reopen(uint8_t *frame, size_t length, const uint8_t *vhdr);

#endif
