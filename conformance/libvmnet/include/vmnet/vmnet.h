// The C interface of macOS' vmnet.framework, stated from the project's fact
// sheet: every function, type, value, key and layout, with the release of macOS
// that brought it. Form of the availability comments: see block.h.
#ifndef LIBVMNET_VMNET_H
#define LIBVMNET_VMNET_H

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "../dispatch.h"
#include "../xpc.h"

typedef struct vmnet_interface *interface_ref; /* macos 10.10 */
typedef struct vmnet_network *vmnet_network_ref; /* macos 26.0 */
typedef struct vmnet_network_configuration *vmnet_network_configuration_ref; /* macos 26.0 */

typedef uint32_t operating_modes_t; /* macos 10.10 */
typedef operating_modes_t vmnet_mode_t; /* macos 26.0 */
enum {
	VMNET_HOST_MODE = 1000, /* macos 10.10 */
	VMNET_SHARED_MODE = 1001, /* macos 10.10 */
	VMNET_BRIDGED_MODE = 1002, /* macos 10.15 */
};

typedef uint32_t interface_event_t; /* macos 10.10 */
enum {
	VMNET_INTERFACE_PACKETS_AVAILABLE = 1 << 0, /* macos 10.10 */
};

typedef uint32_t vmnet_return_t; /* macos 10.10 */
enum {
	VMNET_SUCCESS = 1000, /* macos 10.10 */
	VMNET_FAILURE = 1001, /* macos 10.10 */
	VMNET_MEM_FAILURE = 1002, /* macos 10.10 */
	VMNET_INVALID_ARGUMENT = 1003, /* macos 10.10 */
	VMNET_SETUP_INCOMPLETE = 1004, /* macos 10.10 */
	VMNET_INVALID_ACCESS = 1005, /* macos 10.10 */
	VMNET_PACKET_TOO_BIG = 1006, /* macos 10.10 */
	VMNET_BUFFER_EXHAUSTED = 1007, /* macos 10.10 */
	VMNET_TOO_MANY_PACKETS = 1008, /* macos 10.10 */
	VMNET_SHARING_SERVICE_BUSY = 1009, /* macos 11.0 */
	VMNET_NOT_AUTHORIZED = 1010, /* macos 10.10 */
};

struct vmpktdesc {
	size_t vm_pkt_size;
	struct iovec *vm_pkt_iov;
	uint32_t vm_pkt_iovcnt;
	uint32_t vm_flags;
};
_Static_assert(sizeof(struct vmpktdesc) == 24, "vmpktdesc");
_Static_assert(offsetof(struct vmpktdesc, vm_pkt_size) == 0, "vm_pkt_size");
_Static_assert(offsetof(struct vmpktdesc, vm_pkt_iov) == 8, "vm_pkt_iov");
_Static_assert(offsetof(struct vmpktdesc, vm_pkt_iovcnt) == 16, "vm_pkt_iovcnt");
_Static_assert(offsetof(struct vmpktdesc, vm_flags) == 20, "vm_flags");
_Static_assert(sizeof(struct iovec) == 16, "iovec");
_Static_assert(sizeof(int) == 4, "pktcnt");

// Address families have Darwin's numbers whatever this is compiled on.
#define LIBVMNET_AF_INET 2
#define LIBVMNET_AF_INET6 30
typedef uint8_t libvmnet_sa_family_t; // sa_family_t of Darwin is one byte
typedef struct libvmnet_ether_addr {
	uint8_t octet[6];
} libvmnet_ether_addr_t; // ether_addr_t of Darwin

#pragma GCC visibility push(default)

extern const char *vmnet_operation_mode_key; /* macos 10.10 type uint64 in desc */
extern const char *vmnet_shared_interface_name_key; /* macos 10.15 type string in desc */
extern const char *vmnet_mac_address_key; /* macos 10.10 type string in param */
extern const char *vmnet_allocate_mac_address_key; /* macos 10.15 type bool in desc */
extern const char *vmnet_interface_id_key; /* macos 10.10 type uuid in desc,param */
extern const char *vmnet_mtu_key; /* macos 10.10 type uint64 in desc,param */
extern const char *vmnet_max_packet_size_key; /* macos 10.10 type uint64 in param */
extern const char *vmnet_start_address_key; /* macos 10.15 type string in desc,param */
extern const char *vmnet_end_address_key; /* macos 10.15 type string in desc,param */
extern const char *vmnet_subnet_mask_key; /* macos 10.15 type string in desc,param */
extern const char *vmnet_nat66_prefix_key; /* macos 10.15 type string in desc,param */
extern const char *vmnet_nat66_prefix_length_key; /* macos 10.15 deprecated 11.0 type uint64 in desc */
extern const char *vmnet_network_identifier_key; /* macos 11.0 type uuid in desc */
extern const char *vmnet_host_ip_address_key; /* macos 11.0 type string in desc */
extern const char *vmnet_host_subnet_mask_key; /* macos 11.0 type string in desc */
extern const char *vmnet_host_ipv6_address_key; /* macos 11.0 type string in desc */
extern const char *vmnet_enable_tso_key; /* macos 11.0 type bool in desc */
extern const char *vmnet_enable_isolation_key; /* macos 11.0 type bool in desc */
extern const char *vmnet_enable_checksum_offload_key; /* macos 12.0 type bool in desc */
extern const char *vmnet_read_max_packets_key; /* macos 15.0 type uint64 in param */
extern const char *vmnet_write_max_packets_key; /* macos 15.0 type uint64 in param */
extern const char *vmnet_enable_virtio_header_key; /* macos 15.4 type bool in desc */
extern const char *vmnet_estimated_packets_available_key; /* macos 10.10 type uint64 in event */

#ifdef __BLOCKS__
typedef void (^vmnet_start_interface_completion_handler_t)(vmnet_return_t status, xpc_object_t interface_param); /* macos 10.10 */
typedef void (^vmnet_interface_event_callback_t)(interface_event_t event_mask, xpc_object_t event); /* macos 10.10 */
typedef void (^vmnet_interface_completion_handler_t)(vmnet_return_t status); /* macos 10.10 */
typedef void (^vmnet_interface_get_port_forwarding_rules_handler_t)(xpc_object_t rules); /* macos 10.15 deprecated 12.0 */
typedef void (^vmnet_interface_get_ip_port_forwarding_rules_handler_t)(xpc_object_t rules); /* macos 11.0 */

interface_ref vmnet_start_interface(xpc_object_t interface_desc, dispatch_queue_t queue, vmnet_start_interface_completion_handler_t handler); /* macos 10.10 */
vmnet_return_t vmnet_interface_set_event_callback(interface_ref interface, interface_event_t event_mask, dispatch_queue_t queue, vmnet_interface_event_callback_t callback); /* macos 10.10 */
vmnet_return_t vmnet_stop_interface(interface_ref interface, dispatch_queue_t queue, vmnet_interface_completion_handler_t handler); /* macos 10.10 */

vmnet_return_t vmnet_interface_add_port_forwarding_rule(interface_ref interface, uint8_t protocol, uint16_t external_port, struct in_addr internal_address, uint16_t internal_port, vmnet_interface_completion_handler_t handler); /* macos 10.15 deprecated 12.0 */
vmnet_return_t vmnet_interface_remove_port_forwarding_rule(interface_ref interface, uint8_t protocol, uint16_t external_port, vmnet_interface_completion_handler_t handler); /* macos 10.15 deprecated 12.0 */
vmnet_return_t vmnet_interface_get_port_forwarding_rules(interface_ref interface, vmnet_interface_get_port_forwarding_rules_handler_t handler); /* macos 10.15 deprecated 12.0 */
vmnet_return_t vmnet_interface_add_ip_port_forwarding_rule(interface_ref interface, uint8_t protocol, uint16_t external_port, uint8_t address_family, const void *internal_address, uint16_t internal_port, vmnet_interface_completion_handler_t handler); /* macos 11.0 */
vmnet_return_t vmnet_interface_remove_ip_port_forwarding_rule(interface_ref interface, uint8_t protocol, uint16_t external_port, uint8_t address_family, vmnet_interface_completion_handler_t handler); /* macos 11.0 */
vmnet_return_t vmnet_interface_get_ip_port_forwarding_rules(interface_ref interface, uint8_t address_family, vmnet_interface_get_ip_port_forwarding_rules_handler_t handler); /* macos 11.0 */
interface_ref vmnet_interface_start_with_network(vmnet_network_ref network, xpc_object_t interface_desc, dispatch_queue_t queue, vmnet_start_interface_completion_handler_t start_block); /* macos 26.0 */
#endif

vmnet_return_t vmnet_write(interface_ref interface, struct vmpktdesc *packets, int *pktcnt); /* macos 10.10 */
vmnet_return_t vmnet_read(interface_ref interface, struct vmpktdesc *packets, int *pktcnt); /* macos 10.10 */

vmnet_return_t vmnet_port_forwarding_rule_get_details(xpc_object_t rule, uint8_t *protocol, uint16_t *external_port, struct in_addr *internal_address, uint16_t *internal_port); /* macos 10.15 deprecated 12.0 */
vmnet_return_t vmnet_ip_port_forwarding_rule_get_details(xpc_object_t rule, uint8_t *protocol, uint16_t *external_port, uint8_t address_family, void *internal_address, uint16_t *internal_port); /* macos 11.0 */
xpc_object_t vmnet_copy_shared_interface_list(void); /* macos 10.15 */

vmnet_network_configuration_ref vmnet_network_configuration_create(vmnet_mode_t mode, vmnet_return_t *status); /* macos 26.0 */
void vmnet_network_configuration_disable_dhcp(vmnet_network_configuration_ref config); /* macos 26.0 */
void vmnet_network_configuration_disable_dns_proxy(vmnet_network_configuration_ref config); /* macos 26.0 */
void vmnet_network_configuration_disable_nat44(vmnet_network_configuration_ref config); /* macos 26.0 */
void vmnet_network_configuration_disable_nat66(vmnet_network_configuration_ref config); /* macos 26.0 */
void vmnet_network_configuration_disable_router_advertisement(vmnet_network_configuration_ref config); /* macos 26.0 */
vmnet_return_t vmnet_network_configuration_set_external_interface(vmnet_network_configuration_ref config, const char *interface_name); /* macos 26.0 */
vmnet_return_t vmnet_network_configuration_set_ipv4_subnet(vmnet_network_configuration_ref config, const struct in_addr *subnet_addr, const struct in_addr *subnet_mask); /* macos 26.0 */
vmnet_return_t vmnet_network_configuration_set_ipv6_prefix(vmnet_network_configuration_ref config, const struct in6_addr *prefix, uint8_t len); /* macos 26.0 */
vmnet_return_t vmnet_network_configuration_set_mtu(vmnet_network_configuration_ref config, uint32_t mtu); /* macos 26.0 */
vmnet_return_t vmnet_network_configuration_add_dhcp_reservation(vmnet_network_configuration_ref config, const libvmnet_ether_addr_t *client, const struct in_addr *reservation); /* macos 26.0 */
vmnet_return_t vmnet_network_configuration_add_port_forwarding_rule(vmnet_network_configuration_ref config, uint8_t protocol, libvmnet_sa_family_t address_family, uint16_t internal_port, uint16_t external_port, const void *internal_address); /* macos 26.0 */
vmnet_network_ref vmnet_network_create(vmnet_network_configuration_ref configuration, vmnet_return_t *status); /* macos 26.0 */
vmnet_network_ref vmnet_network_create_with_serialization(xpc_object_t network, vmnet_return_t *status); /* macos 26.0 */
xpc_object_t vmnet_network_copy_serialization(vmnet_network_ref network, vmnet_return_t *status); /* macos 26.0 */
void vmnet_network_get_ipv4_subnet(vmnet_network_ref network, struct in_addr *subnet, struct in_addr *mask); /* macos 26.0 */
void vmnet_network_get_ipv6_prefix(vmnet_network_ref network, struct in6_addr *prefix, uint8_t *prefix_len); /* macos 26.0 */

// CoreFoundation's, for the references of 26.0.
const void *CFRetain(const void *object); /* macos 10.10 */
void CFRelease(const void *object); /* macos 10.10 */

#pragma GCC visibility pop

#endif
