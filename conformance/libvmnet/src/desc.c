#include "desc.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dispatch.h"
#include "xpc.h"

static const struct {
	const char *name;
	const struct _xpc_type_s *type;
	int since;
} known[] = {
	{"vmnet_operation_mode", XPC_TYPE_UINT64, 101000},
	{"vmnet_mtu", XPC_TYPE_UINT64, 101000},
	{"vmnet_interface_id", XPC_TYPE_UUID, 101000},
	{"vmnet_shared_interface_name", XPC_TYPE_STRING, 101500},
	{"vmnet_allocate_mac_address", XPC_TYPE_BOOL, 101500},
	{"vmnet_start_address", XPC_TYPE_STRING, 101500},
	{"vmnet_end_address", XPC_TYPE_STRING, 101500},
	{"vmnet_subnet_mask", XPC_TYPE_STRING, 101500},
	{"vmnet_nat66_prefix", XPC_TYPE_STRING, 101500},
	{"vmnet_nat66_prefix_length", XPC_TYPE_UINT64, 101500},
	{"vmnet_network_identifier", XPC_TYPE_UUID, 110000},
	{"vmnet_host_ip_address", XPC_TYPE_STRING, 110000},
	{"vmnet_host_subnet_mask", XPC_TYPE_STRING, 110000},
	{"vmnet_host_ipv6_address", XPC_TYPE_STRING, 110000},
	{"vmnet_enable_tso", XPC_TYPE_BOOL, 110000},
	{"vmnet_enable_isolation", XPC_TYPE_BOOL, 110000},
	{"vmnet_enable_checksum_offload", XPC_TYPE_BOOL, 120000},
	{"vmnet_enable_virtio_header", XPC_TYPE_BOOL, 150400},
};

bool lv_desc_has(xpc_object_t desc, const char *key) {
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (strcmp(known[i].name, key) == 0)
			return known[i].since <= LV_MACOS && xpc_dictionary_get_value(desc, key) != NULL;
	lv_die("desc: %s: unknown key", key);
}

vmnet_return_t lv_desc_types(xpc_object_t desc) {
	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		if (!lv_desc_has(desc, known[i].name))
			continue;
		if (xpc_get_type(xpc_dictionary_get_value(desc, known[i].name)) != known[i].type)
			return VMNET_INVALID_ARGUMENT;
	}
	return VMNET_SUCCESS;
}

vmnet_return_t lv_desc_network(xpc_object_t desc) {
	static const char *const foreign[] = {
		"vmnet_operation_mode", "vmnet_mtu", "vmnet_shared_interface_name", "vmnet_start_address", "vmnet_end_address", "vmnet_subnet_mask",
		"vmnet_nat66_prefix", "vmnet_network_identifier", "vmnet_host_ip_address", "vmnet_host_subnet_mask", "vmnet_host_ipv6_address",
	};
	for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
		if (lv_desc_has(desc, foreign[i]))
			return VMNET_INVALID_ARGUMENT;
	return VMNET_SUCCESS;
}

static bool flag(xpc_object_t desc, const char *key) {
	return lv_desc_has(desc, key) && xpc_dictionary_get_bool(desc, key);
}

vmnet_return_t lv_desc_common(xpc_object_t desc, struct lv_request *request, struct iface_options *options) {
	options->mac = !lv_desc_has(desc, "vmnet_allocate_mac_address") || flag(desc, "vmnet_allocate_mac_address");
	options->tso = flag(desc, "vmnet_enable_tso");
	options->checksum = flag(desc, "vmnet_enable_checksum_offload");
	options->virtio = flag(desc, "vmnet_enable_virtio_header");
	request->port.isolated = flag(desc, "vmnet_enable_isolation");
	if (lv_desc_has(desc, "vmnet_interface_id")) {
		request->port.have_id = true;
		memcpy(request->port.id, xpc_dictionary_get_uuid(desc, "vmnet_interface_id"), 16);
	}
	// The header carries the checksum's state: both at once exclude each other.
	return options->virtio && options->checksum ? VMNET_INVALID_ARGUMENT : VMNET_SUCCESS;
}

static bool address(xpc_object_t desc, const char *key, uint32_t *value) {
	struct in_addr parsed;
	if (inet_pton(AF_INET, xpc_dictionary_get_string(desc, key), &parsed) != 1)
		return false;
	*value = ntohl(parsed.s_addr);
	return true;
}

// read_subnet reads the three keys that come together or not at all.
static vmnet_return_t read_subnet(xpc_object_t desc, struct lv_net_spec *net) {
	int given = lv_desc_has(desc, "vmnet_start_address") + lv_desc_has(desc, "vmnet_end_address") + lv_desc_has(desc, "vmnet_subnet_mask");
	if (given == 0)
		return VMNET_SUCCESS;
	if (given != 3)
		return VMNET_FAILURE;
	bool ok = address(desc, "vmnet_start_address", &net->start) && address(desc, "vmnet_end_address", &net->end) &&
	          address(desc, "vmnet_subnet_mask", &net->mask);
	return ok && net->start != 0 ? VMNET_SUCCESS : VMNET_FAILURE;
}

static vmnet_return_t read_nat66(xpc_object_t desc, struct lv_net_spec *net) {
	if (lv_desc_has(desc, "vmnet_nat66_prefix_length") && xpc_dictionary_get_uint64(desc, "vmnet_nat66_prefix_length") != 64)
		return VMNET_FAILURE;
	if (!lv_desc_has(desc, "vmnet_nat66_prefix"))
		return VMNET_SUCCESS;
	net->have_prefix = true;
	if (net->mode != VMNET_SHARED_MODE || inet_pton(AF_INET6, xpc_dictionary_get_string(desc, "vmnet_nat66_prefix"), net->prefix) != 1)
		return VMNET_FAILURE;
	static const uint8_t none[8];
	return net->prefix[0] == 0xfd && memcmp(net->prefix + 8, none, 8) == 0 ? VMNET_SUCCESS : VMNET_FAILURE;
}

// read_identified reads the keys of a host network that has an identifier, and
// so no DHCP, and an address of the host only when one is given.
static vmnet_return_t read_identified(xpc_object_t desc, struct lv_net_spec *net) {
	bool identifier = lv_desc_has(desc, "vmnet_network_identifier"), ip = lv_desc_has(desc, "vmnet_host_ip_address");
	bool mask = lv_desc_has(desc, "vmnet_host_subnet_mask"), ip6 = lv_desc_has(desc, "vmnet_host_ipv6_address");
	if (!identifier)
		return ip || mask || ip6 ? VMNET_INVALID_ARGUMENT : VMNET_SUCCESS;
	if (net->mode != VMNET_HOST_MODE || net->start != 0 || ip != mask)
		return VMNET_INVALID_ARGUMENT;
	net->kind = LV_IDENTIFIED;
	net->no_dhcp = true;
	memcpy(net->identifier, xpc_dictionary_get_uuid(desc, "vmnet_network_identifier"), 16);
	if (ip && (!address(desc, "vmnet_host_ip_address", &net->start) || !address(desc, "vmnet_host_subnet_mask", &net->mask)))
		return VMNET_INVALID_ARGUMENT;
	net->have_prefix = ip6;
	if (ip6 && inet_pton(AF_INET6, xpc_dictionary_get_string(desc, "vmnet_host_ipv6_address"), net->prefix) != 1)
		return VMNET_INVALID_ARGUMENT;
	return VMNET_SUCCESS;
}

static vmnet_return_t read_bridged(xpc_object_t desc, struct lv_net_spec *net) {
	if (!lv_desc_has(desc, "vmnet_shared_interface_name"))
		return VMNET_INVALID_ARGUMENT;
	if (lv_desc_has(desc, "vmnet_mtu") || net->start != 0 || net->kind == LV_IDENTIFIED)
		return VMNET_FAILURE;
	net->kind = LV_BRIDGED;
	snprintf(net->uplink, sizeof net->uplink, "%s", xpc_dictionary_get_string(desc, "vmnet_shared_interface_name"));
	char names[32][LV_NAME];
	size_t n = lv_bridges(names, 32);
	for (size_t i = 0; i < n; i++)
		if (strcmp(names[i], net->uplink) == 0)
			return VMNET_SUCCESS;
	return VMNET_FAILURE;
}

static vmnet_return_t read_mode(xpc_object_t desc, struct lv_net_spec *net) {
	if (!lv_desc_has(desc, "vmnet_operation_mode"))
		return VMNET_INVALID_ARGUMENT;
	uint64_t mode = xpc_dictionary_get_uint64(desc, "vmnet_operation_mode");
	if (mode < VMNET_HOST_MODE || mode > (LV_MACOS >= 101500 ? VMNET_BRIDGED_MODE : VMNET_SHARED_MODE))
		return VMNET_INVALID_ARGUMENT;
	net->mode = (uint32_t)mode;
	net->mtu = 0;
	if (lv_desc_has(desc, "vmnet_mtu")) {
		uint64_t mtu = xpc_dictionary_get_uint64(desc, "vmnet_mtu");
		if (mtu < 68 || mtu > 65521) // upper bound unknown; a jumbo frame's Ethernet header must fit
			return VMNET_INVALID_ARGUMENT;
		net->mtu = (uint32_t)mtu;
	}
	return VMNET_SUCCESS;
}

static vmnet_return_t read_network(xpc_object_t desc, struct lv_net_spec *net) {
	vmnet_return_t (*const steps[])(xpc_object_t, struct lv_net_spec *) = {read_mode, read_subnet, read_nat66, read_identified};
	for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
		vmnet_return_t status = steps[i](desc, net);
		if (status != VMNET_SUCCESS)
			return status;
	}
	return net->mode == VMNET_BRIDGED_MODE ? read_bridged(desc, net) : VMNET_SUCCESS;
}

interface_ref vmnet_start_interface(xpc_object_t interface_desc, dispatch_queue_t queue, vmnet_start_interface_completion_handler_t handler) {
	lv_xpc_check("vmnet_start_interface", interface_desc, XPC_TYPE_DICTIONARY);
	lv_queue_check("vmnet_start_interface", queue);
	struct lv_request *request = lv_alloc(sizeof *request);
	request->magic = LV_MAGIC;
	request->op = LV_OP_START;
	struct iface_options options = {.addresses = true};
	vmnet_return_t failure = lv_desc_types(interface_desc);
	if (failure == VMNET_SUCCESS)
		failure = read_network(interface_desc, &request->net);
	if (failure == VMNET_SUCCESS)
		failure = lv_desc_common(interface_desc, request, &options);
	if (failure == VMNET_SUCCESS && !atomic_load(&lv_knob.privilege))
		failure = VMNET_FAILURE;
	options.addresses = request->net.kind == LV_CLASSIC;
	interface_ref ifc = lv_iface_start(request, &options, failure == VMNET_SUCCESS ? 0 : failure, queue, handler);
	free(request);
	return ifc;
}
