// Logical networks of macOS 26: configurations, networks, serializations.
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../include/vmnet/vmnet.h"
#include "base.h"
#include "desc.h"
#include "dispatch.h"
#include "rule.h"
#include "xpc.h"

#define CONFIG_MAGIC 0x56434643u
#define NETWORK_MAGIC 0x564e4554u

// Both begin alike, as CoreFoundation's objects do.
struct header {
	uint32_t magic;
	atomic_int refs;
};

struct vmnet_network_configuration {
	struct header h;
	struct lv_net_spec spec;
};

struct vmnet_network {
	struct header h;
	uint64_t id;
	uint8_t token[16];
	uint32_t address, mask; // as get_ipv4_subnet tells them
	uint8_t prefix[16];
};

static void *check(const char *who, const void *object, uint32_t magic) {
	struct header *h = (struct header *)(uintptr_t)object;
	if (h == NULL)
		lv_die("%s: object is NULL", who);
	if (((uintptr_t)h & 7) != 0 || h->magic == LV_POISON)
		lv_die("%s: object %p: use after free, or never an object", who, object);
	bool known = h->magic == CONFIG_MAGIC || h->magic == NETWORK_MAGIC;
	if (!known || (magic != 0 && h->magic != magic))
		lv_die("%s: %p is not an object of the right kind", who, object);
	return h;
}

#if LV_MACOS >= 260000
static void *create(uint32_t magic, size_t size) {
	struct header *h = lv_alloc(size);
	h->magic = magic;
	atomic_store(&h->refs, 1);
	atomic_fetch_add(&lv_count.cf, 1);
	return h;
}
#endif

const void *CFRetain(const void *object) {
	struct header *h = check("CFRetain", object, 0);
	atomic_fetch_add(&h->refs, 1);
	return object;
}

void CFRelease(const void *object) {
	struct header *h = check("CFRelease", object, 0);
	int before = atomic_fetch_sub(&h->refs, 1);
	if (before <= 0)
		lv_die("CFRelease: object %p: released too often", object);
	if (before > 1)
		return;
	size_t size = sizeof(struct vmnet_network_configuration);
	if (h->magic == NETWORK_MAGIC) {
		lv_fault_block(LV_NETWORK_RELEASE);
		struct lv_request request = {.magic = LV_MAGIC, .op = LV_OP_NETWORK_RELEASE, .handle = ((struct vmnet_network *)h)->id};
		struct lv_answer answer;
		lv_call(&request, &answer);
		size = sizeof(struct vmnet_network);
	}
	lv_free(h, size);
	atomic_fetch_sub(&lv_count.cf, 1);
}

#if LV_MACOS >= 260000

static void tell(vmnet_return_t *status, vmnet_return_t value) {
	if (status != NULL)
		*status = value;
}

vmnet_network_configuration_ref vmnet_network_configuration_create(vmnet_mode_t mode, vmnet_return_t *status) {
	if (mode != VMNET_HOST_MODE && mode != VMNET_SHARED_MODE) {
		tell(status, VMNET_INVALID_ARGUMENT);
		return NULL;
	}
	vmnet_network_configuration_ref c = create(CONFIG_MAGIC, sizeof *c);
	c->spec.mode = mode;
	c->spec.kind = LV_LOGICAL;
	c->spec.mtu = 1500;
	tell(status, VMNET_SUCCESS);
	return c;
}

static struct lv_net_spec *spec_of(const char *who, vmnet_network_configuration_ref config) {
	return &((struct vmnet_network_configuration *)check(who, config, CONFIG_MAGIC))->spec;
}

#define DISABLE(what, field)                                                                                                                         \
	void vmnet_network_configuration_disable_##what(vmnet_network_configuration_ref config) {                                                        \
		spec_of(__func__, config)->field = true;                                                                                                     \
	}
DISABLE(dhcp, no_dhcp)
DISABLE(dns_proxy, no_dns)
DISABLE(nat44, no_nat44)
DISABLE(nat66, no_nat66)
DISABLE(router_advertisement, no_ra)

vmnet_return_t vmnet_network_configuration_set_external_interface(vmnet_network_configuration_ref config, const char *interface_name) {
	struct lv_net_spec *spec = spec_of(__func__, config);
	if (spec->mode != VMNET_SHARED_MODE || interface_name == NULL || *interface_name == '\0' || strlen(interface_name) >= LV_NAME)
		return VMNET_INVALID_ARGUMENT;
	strcpy(spec->uplink, interface_name);
	return VMNET_SUCCESS;
}

vmnet_return_t vmnet_network_configuration_set_ipv4_subnet(vmnet_network_configuration_ref config, const struct in_addr *subnet_addr,
                                                           const struct in_addr *subnet_mask) {
	struct lv_net_spec *spec = spec_of(__func__, config);
	if (subnet_addr == NULL || subnet_mask == NULL)
		return VMNET_INVALID_ARGUMENT;
	uint32_t host = ~ntohl(subnet_mask->s_addr);
	if ((host & (host + 1)) != 0 || host < 3 || subnet_addr->s_addr == 0)
		return VMNET_INVALID_ARGUMENT;
	// Neither a public subnet nor the network's own address is noticed here:
	// the one fails when the network is made, the other when an interface starts.
	spec->start = ntohl(subnet_addr->s_addr);
	spec->mask = ~host;
	return VMNET_SUCCESS;
}

vmnet_return_t vmnet_network_configuration_set_ipv6_prefix(vmnet_network_configuration_ref config, const struct in6_addr *prefix, uint8_t len) {
	struct lv_net_spec *spec = spec_of(__func__, config);
	if (prefix == NULL || len != 64)
		return VMNET_INVALID_ARGUMENT;
	spec->have_prefix = true;
	memcpy(spec->prefix, prefix, 8);
	return VMNET_SUCCESS;
}

vmnet_return_t vmnet_network_configuration_set_mtu(vmnet_network_configuration_ref config, uint32_t mtu) {
	struct lv_net_spec *spec = spec_of(__func__, config);
	if (mtu < 68 || mtu > 65521)
		return VMNET_INVALID_ARGUMENT;
	spec->mtu = mtu;
	return VMNET_SUCCESS;
}

vmnet_return_t vmnet_network_configuration_add_dhcp_reservation(vmnet_network_configuration_ref config, const libvmnet_ether_addr_t *client,
                                                                const struct in_addr *reservation) {
	struct lv_net_spec *spec = spec_of(__func__, config);
	if (client == NULL || reservation == NULL || reservation->s_addr == 0 || (client->octet[0] & 1) != 0)
		return VMNET_INVALID_ARGUMENT;
	if (spec->reservations == LV_RESERVATIONS)
		return VMNET_MEM_FAILURE;
	uint32_t address = ntohl(reservation->s_addr);
	for (uint32_t i = 0; i < spec->reservations; i++)
		if (spec->reservation[i].address == address || memcmp(spec->reservation[i].mac, client, 6) == 0)
			return VMNET_FAILURE;
	struct lv_reservation *r = &spec->reservation[spec->reservations++];
	memcpy(r->mac, client, 6);
	r->address = address;
	return VMNET_SUCCESS;
}

vmnet_return_t vmnet_network_configuration_add_port_forwarding_rule(vmnet_network_configuration_ref config, uint8_t protocol,
                                                                    libvmnet_sa_family_t address_family, uint16_t internal_port,
                                                                    uint16_t external_port, const void *internal_address) {
	struct lv_net_spec *spec = spec_of(__func__, config);
	struct lv_rule rule;
	if (spec->mode != VMNET_SHARED_MODE || internal_address == NULL || internal_port == 0 ||
	    !lv_rule_fill(&rule, protocol, external_port, address_family, internal_address, internal_port))
		return VMNET_INVALID_ARGUMENT;
	if (spec->rules == LV_RULES)
		return VMNET_MEM_FAILURE;
	for (uint32_t i = 0; i < spec->rules; i++)
		if (spec->rule[i].protocol == protocol && spec->rule[i].external == external_port && spec->rule[i].family == address_family)
			return VMNET_FAILURE;
	spec->rule[spec->rules++] = rule;
	return VMNET_SUCCESS;
}

// open_network sends the request that makes or joins a network.
static vmnet_network_ref open_network(const struct lv_request *request, vmnet_return_t *status) {
	struct lv_answer answer;
	lv_call(request, &answer);
	tell(status, answer.status);
	if (answer.status != VMNET_SUCCESS)
		return NULL;
	vmnet_network_ref n = create(NETWORK_MAGIC, sizeof *n);
	n->id = answer.handle;
	n->address = answer.start;
	n->mask = answer.mask;
	memcpy(n->token, answer.token, sizeof n->token);
	memcpy(n->prefix, answer.prefix, sizeof n->prefix);
	return n;
}

static bool is_root(void) {
	long long pretended = atomic_load(&lv_knob.root);
	return pretended < 0 ? geteuid() == 0 : pretended == 1;
}

vmnet_network_ref vmnet_network_create(vmnet_network_configuration_ref configuration, vmnet_return_t *status) {
	const struct lv_net_spec *spec = spec_of("vmnet_network_create", configuration);
	lv_fault_block(LV_NETWORK_CREATE);
	uint32_t fault = lv_fault_status(LV_NETWORK_CREATE);
	if (fault == 0 && !atomic_load(&lv_knob.privilege))
		fault = VMNET_MEM_FAILURE; // so it is on the real one
	if (fault != 0) {
		tell(status, fault);
		return NULL;
	}
	struct lv_request *request = lv_alloc(sizeof *request);
	request->magic = LV_MAGIC;
	request->op = LV_OP_NETWORK_CREATE;
	request->net = *spec;
	request->net.root = is_root();
	vmnet_network_ref n = open_network(request, status);
	free(request);
	return n;
}

// A serialization is one dictionary with 120 bytes of data; ours hold a magic
// word, the network's token, and noughts.
#define SERIAL_KEY "networkSerialization"
#define SERIAL_SIZE 120
static const uint8_t serial_magic[8] = "lvmnet26";

vmnet_network_ref vmnet_network_create_with_serialization(xpc_object_t network, vmnet_return_t *status) {
	lv_xpc_check("vmnet_network_create_with_serialization", network, XPC_TYPE_DICTIONARY);
	lv_fault_block(LV_NETWORK_OPEN);
	uint32_t fault = lv_fault_status(LV_NETWORK_OPEN);
	size_t length = 0;
	const uint8_t *data = xpc_dictionary_get_data(network, SERIAL_KEY, &length);
	if (fault == 0 && (data == NULL || length != SERIAL_SIZE || memcmp(data, serial_magic, sizeof serial_magic) != 0))
		fault = VMNET_INVALID_ARGUMENT;
	if (fault == 0 && !atomic_load(&lv_knob.privilege))
		fault = VMNET_MEM_FAILURE;
	if (fault != 0) {
		tell(status, fault);
		return NULL;
	}
	struct lv_request request = {.magic = LV_MAGIC, .op = LV_OP_NETWORK_OPEN};
	memcpy(request.token, data + sizeof serial_magic, sizeof request.token);
	return open_network(&request, status);
}

xpc_object_t vmnet_network_copy_serialization(vmnet_network_ref network, vmnet_return_t *status) {
	const struct vmnet_network *n = check("vmnet_network_copy_serialization", network, NETWORK_MAGIC);
	lv_fault_block(LV_NETWORK_SERIALIZE);
	uint32_t fault = lv_fault_status(LV_NETWORK_SERIALIZE);
	tell(status, fault != 0 ? fault : VMNET_SUCCESS);
	if (fault != 0)
		return NULL;
	uint8_t data[SERIAL_SIZE] = {0};
	memcpy(data, serial_magic, sizeof serial_magic);
	memcpy(data + sizeof serial_magic, n->token, sizeof n->token);
	xpc_object_t dictionary = xpc_dictionary_create_empty();
	xpc_dictionary_set_data(dictionary, SERIAL_KEY, data, sizeof data);
	return dictionary;
}

void vmnet_network_get_ipv4_subnet(vmnet_network_ref network, struct in_addr *subnet, struct in_addr *mask) {
	const struct vmnet_network *n = check("vmnet_network_get_ipv4_subnet", network, NETWORK_MAGIC);
	if (subnet == NULL || mask == NULL)
		lv_die("vmnet_network_get_ipv4_subnet: subnet or mask is NULL");
	subnet->s_addr = htonl(n->address);
	mask->s_addr = htonl(n->mask);
}

void vmnet_network_get_ipv6_prefix(vmnet_network_ref network, struct in6_addr *prefix, uint8_t *prefix_len) {
	const struct vmnet_network *n = check("vmnet_network_get_ipv6_prefix", network, NETWORK_MAGIC);
	if (prefix == NULL || prefix_len == NULL)
		lv_die("vmnet_network_get_ipv6_prefix: prefix or prefix_len is NULL");
	memcpy(prefix, n->prefix, 16);
	*prefix_len = 64;
}

interface_ref vmnet_interface_start_with_network(vmnet_network_ref network, xpc_object_t interface_desc, dispatch_queue_t queue,
                                                 vmnet_start_interface_completion_handler_t start_block) {
	const struct vmnet_network *n = check("vmnet_interface_start_with_network", network, NETWORK_MAGIC);
	lv_xpc_check("vmnet_interface_start_with_network", interface_desc, XPC_TYPE_DICTIONARY);
	lv_queue_check("vmnet_interface_start_with_network", queue);
	struct lv_request *request = lv_alloc(sizeof *request);
	request->magic = LV_MAGIC;
	request->op = LV_OP_START_LOGICAL;
	request->handle = n->id;
	struct iface_options options = {0};
	vmnet_return_t failure = lv_desc_types(interface_desc);
	if (failure == VMNET_SUCCESS)
		failure = lv_desc_network(interface_desc);
	if (failure == VMNET_SUCCESS)
		failure = lv_desc_common(interface_desc, request, &options);
	options.mac = true; // allocate_mac_address is ignored here
	if (failure == VMNET_SUCCESS && !atomic_load(&lv_knob.privilege))
		failure = VMNET_FAILURE;
	interface_ref ifc = lv_iface_start(request, &options, failure == VMNET_SUCCESS ? 0 : failure, queue, start_block);
	free(request);
	return ifc;
}

#endif
