// Frames in and out of an interface.
#ifndef LV_PACKET_H
#define LV_PACKET_H

#include "iface.h"

// lv_packet_batch gives the packets that one call may carry.
uint32_t lv_packet_batch(void);
// lv_packet_receive is the interface's lv_receive.
void lv_packet_receive(void *context, const struct lv_frame *frame);
// lv_packet_deliver puts a frame in the interface's ring; false: dropped.
bool lv_packet_deliver(struct vmnet_interface *ifc, const struct lv_frame *frame);

#endif
