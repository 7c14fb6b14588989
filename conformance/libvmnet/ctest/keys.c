#include "test.h"

// A key is a variable that points to its own name without _key.
TEST(keys) {
#define KEY(name) TEXT(name##_key, #name)
	KEY(vmnet_operation_mode);
	KEY(vmnet_shared_interface_name);
	KEY(vmnet_mac_address);
	KEY(vmnet_allocate_mac_address);
	KEY(vmnet_interface_id);
	KEY(vmnet_mtu);
	KEY(vmnet_max_packet_size);
	KEY(vmnet_start_address);
	KEY(vmnet_end_address);
	KEY(vmnet_subnet_mask);
	KEY(vmnet_nat66_prefix);
	KEY(vmnet_nat66_prefix_length);
	KEY(vmnet_network_identifier);
	KEY(vmnet_host_ip_address);
	KEY(vmnet_host_subnet_mask);
	KEY(vmnet_host_ipv6_address);
	KEY(vmnet_enable_tso);
	KEY(vmnet_enable_isolation);
	KEY(vmnet_enable_checksum_offload);
	KEY(vmnet_read_max_packets);
	KEY(vmnet_write_max_packets);
	KEY(vmnet_enable_virtio_header);
	KEY(vmnet_estimated_packets_available);
	EQUAL(libvmnet_test_version(), 260000);
}

TEST(late_and_hanging_handlers) {
	struct started s = start(VMNET_SHARED_MODE);
	dispatch_semaphore_t called = dispatch_semaphore_create(0);
	uint32_t guest = htonl(0xc0a84005);
	control("hang.rule", 1);
	vmnet_return_t status = vmnet_interface_add_ip_port_forwarding_rule(s.ref, 6, 8080, LIBVMNET_AF_INET, &guest, 80, ^(vmnet_return_t result) {
		CHECK(result == VMNET_SUCCESS);
		dispatch_semaphore_signal(called);
	});
	EQUAL(status, VMNET_SUCCESS);
	CHECK(dispatch_semaphore_wait(called, dispatch_time(DISPATCH_TIME_NOW, 20000000)) != 0);
	libvmnet_test_reset(); // lets go what hangs
	EQUAL(dispatch_semaphore_wait(called, dispatch_time(DISPATCH_TIME_NOW, 30000000000)), 0);
	dispatch_release(called);
	control("late.stop", 30);
	stop(&s);
	EQUAL(libvmnet_test_get("count.late"), 2);
	CHECK(libvmnet_test_set("no such control", 1) == -1 && libvmnet_test_get("no such control") == INT64_MIN);
}
