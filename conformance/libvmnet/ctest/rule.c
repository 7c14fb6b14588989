#include "test.h"

static dispatch_semaphore_t called;
static vmnet_return_t result;

// settle waits for the handler of a call that returned status.
static vmnet_return_t settle(vmnet_return_t status) {
	EQUAL(status, VMNET_SUCCESS);
	EQUAL(dispatch_semaphore_wait(called, dispatch_time(DISPATCH_TIME_NOW, 30000000000)), 0);
	return result;
}

static vmnet_interface_completion_handler_t handler(void) {
	return ^(vmnet_return_t status) {
		result = status;
		dispatch_semaphore_signal(called);
	};
}

static size_t count(interface_ref ref, uint8_t family) {
	__block size_t n = 0;
	vmnet_interface_get_ip_port_forwarding_rules(ref, family, ^(xpc_object_t rules) {
		n = rules == NULL ? 0 : xpc_array_get_count(rules);
		dispatch_semaphore_signal(called);
	});
	EQUAL(dispatch_semaphore_wait(called, dispatch_time(DISPATCH_TIME_NOW, 30000000000)), 0);
	return n;
}

TEST(rules) {
	called = dispatch_semaphore_create(0);
	struct started s = start(VMNET_SHARED_MODE);
	uint32_t guest = htonl(0xc0a84005);
	struct in6_addr guest6 = {.s6_addr = {0xfd, 1}};
	EQUAL(count(s.ref, LIBVMNET_AF_INET), 0);
	EQUAL(settle(vmnet_interface_add_ip_port_forwarding_rule(s.ref, 6, 8080, LIBVMNET_AF_INET, &guest, 80, handler())), VMNET_SUCCESS);
	EQUAL(settle(vmnet_interface_add_ip_port_forwarding_rule(s.ref, 6, 8080, LIBVMNET_AF_INET, &guest, 81, handler())), VMNET_FAILURE);
	EQUAL(settle(vmnet_interface_add_ip_port_forwarding_rule(s.ref, 17, 8080, LIBVMNET_AF_INET6, &guest6, 80, handler())), VMNET_SUCCESS);
	EQUAL(vmnet_interface_add_ip_port_forwarding_rule(s.ref, 17, 8081, LIBVMNET_AF_INET, &guest, 80, NULL), VMNET_SUCCESS);
	EQUAL(count(s.ref, LIBVMNET_AF_INET), 2);
	EQUAL(count(s.ref, LIBVMNET_AF_INET6), 1);
	EQUAL(vmnet_interface_add_ip_port_forwarding_rule(s.ref, 1, 8080, LIBVMNET_AF_INET, &guest, 80, handler()), VMNET_INVALID_ARGUMENT);
	EQUAL(vmnet_interface_add_ip_port_forwarding_rule(s.ref, 6, 0, LIBVMNET_AF_INET, &guest, 80, handler()), VMNET_INVALID_ARGUMENT);
	EQUAL(vmnet_interface_add_ip_port_forwarding_rule(s.ref, 6, 1, 10, &guest6, 80, handler()), VMNET_INVALID_ARGUMENT); // Linux' number
	EQUAL(vmnet_interface_add_ip_port_forwarding_rule(s.ref, 6, 1, LIBVMNET_AF_INET, NULL, 80, handler()), VMNET_INVALID_ARGUMENT);
	vmnet_interface_get_ip_port_forwarding_rules(s.ref, LIBVMNET_AF_INET6, ^(xpc_object_t list) {
		uint8_t protocol = 0;
		uint16_t external = 0, internal = 0;
		struct in6_addr to;
		xpc_object_t rule = xpc_array_get_value(list, 0);
		if (vmnet_ip_port_forwarding_rule_get_details(rule, &protocol, &external, LIBVMNET_AF_INET, &to, &internal) != VMNET_INVALID_ARGUMENT)
			FAIL("details of another family");
		if (vmnet_ip_port_forwarding_rule_get_details(rule, &protocol, &external, LIBVMNET_AF_INET6, &to, &internal) != VMNET_SUCCESS)
			FAIL("details");
		CHECK(protocol == 17 && external == 8080 && internal == 80 && memcmp(&to, &guest6, 16) == 0);
		dispatch_semaphore_signal(called);
	});
	dispatch_semaphore_wait(called, DISPATCH_TIME_FOREVER);
	EQUAL(settle(vmnet_interface_remove_ip_port_forwarding_rule(s.ref, 6, 8080, LIBVMNET_AF_INET, handler())), VMNET_SUCCESS);
	EQUAL(settle(vmnet_interface_remove_ip_port_forwarding_rule(s.ref, 6, 8080, LIBVMNET_AF_INET, handler())), VMNET_FAILURE);
	EQUAL(count(s.ref, LIBVMNET_AF_INET), 1);
	struct started other = start(VMNET_SHARED_MODE);
	stop(&s); // its rules go with it
	EQUAL(count(other.ref, LIBVMNET_AF_INET), 0);
	stop(&other);
	struct started host = start(VMNET_HOST_MODE);
	EQUAL(settle(vmnet_interface_add_ip_port_forwarding_rule(host.ref, 6, 8080, LIBVMNET_AF_INET, &guest, 80, handler())), VMNET_FAILURE);
	control("fail.rule", VMNET_NOT_AUTHORIZED);
	EQUAL(settle(vmnet_interface_remove_ip_port_forwarding_rule(host.ref, 6, 8080, LIBVMNET_AF_INET, handler())), VMNET_NOT_AUTHORIZED);
	stop(&host);
	dispatch_release(called);
}

TEST(rules_of_10_15) {
	called = dispatch_semaphore_create(0);
	struct started s = start(VMNET_SHARED_MODE);
	struct in_addr guest = {htonl(0xc0a84005)};
	EQUAL(settle(vmnet_interface_add_port_forwarding_rule(s.ref, 6, 2222, guest, 22, handler())), VMNET_SUCCESS);
	vmnet_interface_get_port_forwarding_rules(s.ref, ^(xpc_object_t list) {
		uint8_t protocol = 0;
		uint16_t external = 0, internal = 0;
		struct in_addr to = {0};
		CHECK(xpc_array_get_count(list) == 1);
		vmnet_port_forwarding_rule_get_details(xpc_array_get_value(list, 0), &protocol, &external, &to, &internal);
		CHECK(protocol == 6 && external == 2222 && internal == 22 && to.s_addr == guest.s_addr);
		dispatch_semaphore_signal(called);
	});
	dispatch_semaphore_wait(called, DISPATCH_TIME_FOREVER);
	EQUAL(settle(vmnet_interface_remove_port_forwarding_rule(s.ref, 6, 2222, handler())), VMNET_SUCCESS);
	stop(&s);
	dispatch_release(called);
}

ABORT(rules_null_handler, "handler is NULL") {
	struct started s = start(VMNET_SHARED_MODE);
	vmnet_interface_get_ip_port_forwarding_rules(s.ref, LIBVMNET_AF_INET, NULL);
}
ABORT(rules_null_details, "an argument is NULL") { vmnet_port_forwarding_rule_get_details(xpc_dictionary_create_empty(), NULL, NULL, NULL, NULL); }
