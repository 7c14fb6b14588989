// The keys: variables that point to a string, the variable's name without _key.
#include "../include/vmnet/vmnet.h"
#include "base.h"

#define KEY(name) const char *name##_key = #name

KEY(vmnet_operation_mode);
KEY(vmnet_mac_address);
KEY(vmnet_interface_id);
KEY(vmnet_mtu);
KEY(vmnet_max_packet_size);
KEY(vmnet_estimated_packets_available);
#if LV_MACOS >= 101500
KEY(vmnet_shared_interface_name);
KEY(vmnet_allocate_mac_address);
KEY(vmnet_start_address);
KEY(vmnet_end_address);
KEY(vmnet_subnet_mask);
KEY(vmnet_nat66_prefix);
KEY(vmnet_nat66_prefix_length);
#endif
#if LV_MACOS >= 110000
KEY(vmnet_network_identifier);
KEY(vmnet_host_ip_address);
KEY(vmnet_host_subnet_mask);
KEY(vmnet_host_ipv6_address);
KEY(vmnet_enable_tso);
KEY(vmnet_enable_isolation);
#endif
#if LV_MACOS >= 120000
KEY(vmnet_enable_checksum_offload);
#endif
#if LV_MACOS >= 150000
KEY(vmnet_read_max_packets);
KEY(vmnet_write_max_packets);
#endif
#if LV_MACOS >= 150400
KEY(vmnet_enable_virtio_header);
#endif
