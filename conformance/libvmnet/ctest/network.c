#include "test.h"

static vmnet_network_configuration_ref config(uint32_t mode) {
	vmnet_return_t status = 0;
	vmnet_network_configuration_ref c = vmnet_network_configuration_create(mode, &status);
	EQUAL(status, VMNET_SUCCESS);
	return c;
}

static vmnet_network_ref create(vmnet_network_configuration_ref c, vmnet_return_t want) {
	vmnet_return_t status = 0;
	vmnet_network_ref n = vmnet_network_create(c, &status);
	EQUAL(status, want);
	CHECK((n != NULL) == (want == VMNET_SUCCESS));
	CFRelease(c);
	return n;
}

static struct in_addr address(const char *text) {
	struct in_addr a;
	CHECK(inet_pton(AF_INET, text, &a) == 1);
	return a;
}

static vmnet_return_t set_subnet(vmnet_network_configuration_ref c, const char *base, const char *mask) {
	struct in_addr a = address(base), m = address(mask);
	return vmnet_network_configuration_set_ipv4_subnet(c, &a, &m);
}

static void subnet_is(vmnet_network_ref n, const char *want, const char *want_mask) {
	struct in_addr a, m;
	vmnet_network_get_ipv4_subnet(n, &a, &m);
	TEXT(inet_ntoa(a), want);
	TEXT(inet_ntoa(m), want_mask);
}

TEST(network_default_subnets) {
	control("root", 0);
	vmnet_network_ref a = create(config(VMNET_SHARED_MODE), VMNET_SUCCESS), b = create(config(VMNET_HOST_MODE), VMNET_SUCCESS);
	subnet_is(a, "192.168.64.1", "255.255.255.0");
	subnet_is(b, "192.168.65.1", "255.255.255.0");
	control("root", 1);
	vmnet_network_ref c = create(config(VMNET_SHARED_MODE), VMNET_SUCCESS);
	subnet_is(c, "192.168.2.1", "255.255.255.0");
	struct in6_addr prefix;
	uint8_t length = 0;
	vmnet_network_get_ipv6_prefix(a, &prefix, &length);
	CHECK(prefix.s6_addr[0] == 0xfd && length == 64);
	EQUAL(libvmnet_test_get("live.networks"), 3);
	CFRelease(a);
	CFRelease(b);
	CFRelease(c);
	EQUAL(libvmnet_test_get("live.networks"), 0);
}

TEST(network_interfaces) {
	vmnet_network_configuration_ref c = config(VMNET_SHARED_MODE);
	EQUAL(set_subnet(c, "192.168.77.1", "255.255.255.0"), VMNET_SUCCESS);
	EQUAL(vmnet_network_configuration_set_mtu(c, 1400), VMNET_SUCCESS);
	vmnet_network_ref n = create(c, VMNET_SUCCESS);
	subnet_is(n, "192.168.77.1", "255.255.255.0");
	xpc_object_t desc = xpc_dictionary_create_empty();
	static const uint8_t id[16] = {1};
	xpc_dictionary_set_uuid(desc, vmnet_interface_id_key, id);
	xpc_dictionary_set_bool(desc, vmnet_allocate_mac_address_key, false);
	struct started a = start_on(n, desc), b = start_on(n, xpc_dictionary_create_empty());
	EQUAL(a.status, VMNET_SUCCESS);
	EQUAL(xpc_dictionary_get_count(a.param), 6); // and no addresses
	CHECK(xpc_dictionary_get_string(a.param, vmnet_start_address_key) == NULL);
	CHECK(xpc_dictionary_get_string(a.param, vmnet_mac_address_key) != NULL); // the wish for none is ignored
	CHECK(memcmp(xpc_dictionary_get_uuid(a.param, vmnet_interface_id_key), id, 16) != 0); // as is the ID
	EQUAL(xpc_dictionary_get_uint64(a.param, vmnet_mtu_key), 1400);
	EQUAL(xpc_dictionary_get_uint64(a.param, vmnet_max_packet_size_key), 1414);
	CFRelease(n); // the interfaces keep the network
	EQUAL(libvmnet_test_get("live.networks"), 1);
	uint8_t bytes[1414];
	frame(bytes, 60, 255, 1);
	EQUAL(write_one(a.ref, bytes, 60), VMNET_SUCCESS);
	EQUAL(read_one(b.ref, bytes, sizeof bytes), 60);
	stop(&a);
	stop(&b);
	EQUAL(libvmnet_test_get("live.networks"), 0);
}

TEST(network_bad_subnets) {
	vmnet_network_configuration_ref c = config(VMNET_SHARED_MODE);
	EQUAL(set_subnet(c, "192.168.7.1", "255.0.255.0"), VMNET_INVALID_ARGUMENT);
	EQUAL(set_subnet(c, "192.168.7.1", "255.255.255.254"), VMNET_INVALID_ARGUMENT);
	EQUAL(vmnet_network_configuration_set_ipv4_subnet(c, NULL, NULL), VMNET_INVALID_ARGUMENT);
	EQUAL(set_subnet(c, "8.8.8.1", "255.255.255.0"), VMNET_SUCCESS); // found out only when it is made
	create(c, VMNET_FAILURE);
	c = config(VMNET_SHARED_MODE);
	EQUAL(set_subnet(c, "192.168.7.0", "255.255.255.0"), VMNET_SUCCESS);
	vmnet_network_ref n = create(c, VMNET_SUCCESS);
	struct started s = start_on(n, xpc_dictionary_create_empty()); // and this only when an interface starts
	EQUAL(s.status, VMNET_FAILURE);
	CFRelease(n);
}

TEST(network_conflicts) {
	vmnet_network_configuration_ref c = config(VMNET_SHARED_MODE);
	set_subnet(c, "192.168.64.1", "255.255.255.0");
	vmnet_network_ref n = create(c, VMNET_SUCCESS);
	c = config(VMNET_HOST_MODE);
	set_subnet(c, "192.168.64.129", "255.255.255.128");
	create(c, VMNET_FAILURE);
	struct started s = start(VMNET_SHARED_MODE); // the classic default evades
	TEXT(xpc_dictionary_get_string(s.param, vmnet_start_address_key), "192.168.65.1");
	stop(&s);
	CFRelease(n);
}

TEST(network_arguments) {
	vmnet_return_t status = 0;
	CHECK(vmnet_network_configuration_create(VMNET_BRIDGED_MODE, &status) == NULL);
	EQUAL(status, VMNET_INVALID_ARGUMENT);
	CHECK(vmnet_network_configuration_create(0, NULL) == NULL);
	vmnet_network_configuration_ref host = config(VMNET_HOST_MODE), shared = config(VMNET_SHARED_MODE);
	EQUAL(vmnet_network_configuration_set_external_interface(host, "en0"), VMNET_INVALID_ARGUMENT);
	EQUAL(vmnet_network_configuration_set_external_interface(shared, NULL), VMNET_INVALID_ARGUMENT);
	EQUAL(vmnet_network_configuration_set_external_interface(shared, "en0"), VMNET_SUCCESS);
	struct in6_addr prefix = {.s6_addr = {0xfd, 0x5e}};
	EQUAL(vmnet_network_configuration_set_ipv6_prefix(shared, &prefix, 48), VMNET_INVALID_ARGUMENT);
	EQUAL(vmnet_network_configuration_set_ipv6_prefix(shared, &prefix, 64), VMNET_SUCCESS);
	EQUAL(vmnet_network_configuration_set_mtu(shared, 10), VMNET_INVALID_ARGUMENT);
	libvmnet_ether_addr_t mac = {{2, 0, 0, 0, 0, 1}};
	struct in_addr wanted = address("192.168.9.5"), outside = address("192.168.10.5");
	EQUAL(vmnet_network_configuration_add_dhcp_reservation(shared, NULL, &wanted), VMNET_INVALID_ARGUMENT);
	EQUAL(vmnet_network_configuration_add_dhcp_reservation(shared, &mac, &outside), VMNET_SUCCESS);
	EQUAL(vmnet_network_configuration_add_dhcp_reservation(shared, &mac, &wanted), VMNET_FAILURE); // one for each station
	EQUAL(vmnet_network_configuration_add_port_forwarding_rule(host, 6, LIBVMNET_AF_INET, 80, 8080, &wanted), VMNET_INVALID_ARGUMENT);
	EQUAL(vmnet_network_configuration_add_port_forwarding_rule(shared, 1, LIBVMNET_AF_INET, 80, 8080, &wanted), VMNET_INVALID_ARGUMENT);
	EQUAL(vmnet_network_configuration_add_port_forwarding_rule(shared, 6, 10, 80, 8080, &wanted), VMNET_INVALID_ARGUMENT); // Linux' number
	EQUAL(vmnet_network_configuration_add_port_forwarding_rule(shared, 6, LIBVMNET_AF_INET, 80, 8080, &wanted), VMNET_SUCCESS);
	vmnet_network_configuration_disable_dhcp(shared);
	vmnet_network_configuration_disable_dns_proxy(shared);
	vmnet_network_configuration_disable_nat44(shared);
	vmnet_network_configuration_disable_nat66(shared);
	vmnet_network_configuration_disable_router_advertisement(shared);
	set_subnet(shared, "192.168.9.1", "255.255.255.0");
	create(shared, VMNET_FAILURE); // the reservation is outside
	CHECK(CFRetain(host) == host);
	CFRelease(host);
	CFRelease(host);
}

TEST(network_rules_listed) {
	vmnet_network_configuration_ref c = config(VMNET_SHARED_MODE);
	struct in_addr guest = address("192.168.9.5");
	set_subnet(c, "192.168.9.1", "255.255.255.0");
	EQUAL(vmnet_network_configuration_add_port_forwarding_rule(c, 6, LIBVMNET_AF_INET, 80, 8080, &guest), VMNET_SUCCESS);
	vmnet_network_ref n = create(c, VMNET_SUCCESS);
	struct started s = start_on(n, xpc_dictionary_create_empty());
	dispatch_semaphore_t called = dispatch_semaphore_create(0);
	vmnet_interface_get_ip_port_forwarding_rules(s.ref, LIBVMNET_AF_INET, ^(xpc_object_t rules) {
		uint8_t protocol = 0;
		uint16_t external = 0, internal = 0;
		struct in_addr to = {0};
		CHECK(rules != NULL && xpc_array_get_count(rules) == 1);
		vmnet_ip_port_forwarding_rule_get_details(xpc_array_get_value(rules, 0), &protocol, &external, LIBVMNET_AF_INET, &to, &internal);
		CHECK(protocol == 6 && external == 8080 && internal == 80 && to.s_addr == guest.s_addr);
		dispatch_semaphore_signal(called);
	});
	EQUAL(dispatch_semaphore_wait(called, dispatch_time(DISPATCH_TIME_NOW, 30000000000)), 0);
	dispatch_release(called);
	stop(&s);
	CFRelease(n);
}

TEST(network_serialization) {
	vmnet_return_t status = 0;
	vmnet_network_ref n = create(config(VMNET_SHARED_MODE), VMNET_SUCCESS);
	xpc_object_t serial = vmnet_network_copy_serialization(n, &status);
	EQUAL(status, VMNET_SUCCESS);
	size_t length = 0;
	const uint8_t *data = xpc_dictionary_get_data(serial, "networkSerialization", &length);
	CHECK(data != NULL && length == 120 && xpc_dictionary_get_count(serial) == 1);
	vmnet_network_ref again = vmnet_network_create_with_serialization(serial, &status);
	EQUAL(status, VMNET_SUCCESS);
	struct started a = start_on(n, xpc_dictionary_create_empty()), b = start_on(again, xpc_dictionary_create_empty());
	uint8_t bytes[1514];
	frame(bytes, 60, 255, 1);
	EQUAL(write_one(a.ref, bytes, 60), VMNET_SUCCESS);
	EQUAL(read_one(b.ref, bytes, sizeof bytes), 60);
	stop(&a);
	stop(&b);
	CFRelease(again);
	CFRelease(n);
	CHECK(vmnet_network_create_with_serialization(serial, &status) == NULL); // gone
	EQUAL(status, VMNET_FAILURE);
	xpc_dictionary_set_data(serial, "networkSerialization", "short", 5);
	CHECK(vmnet_network_create_with_serialization(serial, &status) == NULL);
	EQUAL(status, VMNET_INVALID_ARGUMENT);
	xpc_release(serial);
}

TEST(network_faults) {
	control("privilege", 0);
	create(config(VMNET_SHARED_MODE), VMNET_MEM_FAILURE);
	control("privilege", 1);
	control("fail.network.create", VMNET_FAILURE);
	create(config(VMNET_SHARED_MODE), VMNET_FAILURE);
	control("fail.network.create", 0);
	vmnet_return_t status = 0;
	vmnet_network_ref n = create(config(VMNET_SHARED_MODE), VMNET_SUCCESS);
	control("fail.network.serialize", VMNET_FAILURE);
	CHECK(vmnet_network_copy_serialization(n, &status) == NULL && status == VMNET_FAILURE);
	CFRelease(n);
	control("hang.network.create", 2);
	dispatch_semaphore_t made = dispatch_semaphore_create(0);
	dispatch_async(queue, ^{
		CFRelease(create(config(VMNET_SHARED_MODE), VMNET_SUCCESS));
		dispatch_semaphore_signal(made);
	});
	CHECK(dispatch_semaphore_wait(made, dispatch_time(DISPATCH_TIME_NOW, 20000000)) != 0);
	control("hang.network.create", 0);
	EQUAL(dispatch_semaphore_wait(made, DISPATCH_TIME_FOREVER), 0);
	control("hang.network.release", 2);
	dispatch_async(queue, ^{
		CFRelease(create(config(VMNET_SHARED_MODE), VMNET_SUCCESS));
		dispatch_semaphore_signal(made);
	});
	CHECK(dispatch_semaphore_wait(made, dispatch_time(DISPATCH_TIME_NOW, 20000000)) != 0);
	control("hang.network.release", 0);
	EQUAL(dispatch_semaphore_wait(made, DISPATCH_TIME_FOREVER), 0);
	dispatch_release(made);
}

TEST(network_description) {
	vmnet_network_ref n = create(config(VMNET_SHARED_MODE), VMNET_SUCCESS);
	struct started s = start_on(n, description(VMNET_SHARED_MODE)); // the mode is the network's
	EQUAL(s.status, VMNET_INVALID_ARGUMENT);
	CFRelease(n);
}

ABORT(cf_over_release, "use after free") {
	vmnet_network_configuration_ref c = config(VMNET_HOST_MODE);
	CFRelease(c);
	CFRelease(c);
}
ABORT(cf_null, "CFRelease: object is NULL") { CFRelease(NULL); }
ABORT(cf_wrong_kind, "not an object of the right kind") {
	struct in_addr a, m;
	vmnet_network_get_ipv4_subnet((vmnet_network_ref)config(VMNET_HOST_MODE), &a, &m);
}
ABORT(network_after_free, "use after free") {
	vmnet_network_ref n = create(config(VMNET_HOST_MODE), VMNET_SUCCESS);
	CFRelease(n);
	vmnet_network_copy_serialization(n, NULL);
}
