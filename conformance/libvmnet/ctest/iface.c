#include "test.h"

static const char *text(const struct started *s, const char *key) {
	return xpc_dictionary_get_string(s->param, key);
}

static void set_subnet(xpc_object_t desc, const char *first, const char *last, const char *mask) {
	xpc_dictionary_set_string(desc, vmnet_start_address_key, first);
	xpc_dictionary_set_string(desc, vmnet_end_address_key, last);
	xpc_dictionary_set_string(desc, vmnet_subnet_mask_key, mask);
}

static struct started on_subnet(uint32_t mode, const char *first, const char *last, const char *mask) {
	xpc_object_t desc = description(mode);
	set_subnet(desc, first, last, mask);
	return start_with(desc);
}

static void fails(xpc_object_t desc, vmnet_return_t want) {
	struct started s = start_with(desc);
	EQUAL(s.status, want);
	CHECK(s.param == NULL);
	CHECK((s.ref == NULL) == (want == VMNET_INVALID_ARGUMENT));
}

TEST(start_shared) {
	struct started s = start(VMNET_SHARED_MODE);
	EQUAL(xpc_dictionary_get_count(s.param), 10);
	EQUAL(xpc_dictionary_get_uint64(s.param, vmnet_mtu_key), 1500);
	EQUAL(xpc_dictionary_get_uint64(s.param, vmnet_max_packet_size_key), 1514);
	EQUAL(xpc_dictionary_get_uint64(s.param, vmnet_read_max_packets_key), 256);
	EQUAL(xpc_dictionary_get_uint64(s.param, vmnet_write_max_packets_key), 256);
	TEXT(text(&s, vmnet_start_address_key), "192.168.64.1");
	TEXT(text(&s, vmnet_end_address_key), "192.168.64.254");
	TEXT(text(&s, vmnet_subnet_mask_key), "255.255.255.0");
	CHECK(strncmp(text(&s, vmnet_nat66_prefix_key), "fd", 2) == 0);
	CHECK(xpc_dictionary_get_uuid(s.param, vmnet_interface_id_key) != NULL);
	CHECK(strlen(text(&s, vmnet_mac_address_key)) == 17);
	stop(&s);
}

TEST(start_host) {
	struct started s = start(VMNET_HOST_MODE);
	EQUAL(xpc_dictionary_get_count(s.param), 9);
	TEXT(text(&s, vmnet_start_address_key), "192.168.128.1");
	CHECK(text(&s, vmnet_nat66_prefix_key) == NULL);
	stop(&s);
}

TEST(start_bridged) {
	xpc_object_t desc = description(VMNET_BRIDGED_MODE);
	xpc_dictionary_set_string(desc, vmnet_shared_interface_name_key, "en0");
	struct started s = start_with(desc);
	EQUAL(s.status, VMNET_SUCCESS);
	EQUAL(xpc_dictionary_get_count(s.param), 6);
	stop(&s);
	fails(description(VMNET_BRIDGED_MODE), VMNET_INVALID_ARGUMENT);
	desc = description(VMNET_BRIDGED_MODE);
	xpc_dictionary_set_string(desc, vmnet_shared_interface_name_key, "en9");
	fails(desc, VMNET_FAILURE);
	desc = description(VMNET_BRIDGED_MODE);
	xpc_dictionary_set_string(desc, vmnet_shared_interface_name_key, "en0");
	xpc_dictionary_set_uint64(desc, vmnet_mtu_key, 1500);
	fails(desc, VMNET_FAILURE);
}

TEST(bridge_list) {
	xpc_object_t list = vmnet_copy_shared_interface_list();
	EQUAL(xpc_array_get_count(list), 2);
	TEXT(xpc_array_get_string(list, 0), "en0");
	xpc_release(list);
	libvmnet_test_bridges("en5");
	list = vmnet_copy_shared_interface_list();
	EQUAL(xpc_array_get_count(list), 1);
	TEXT(xpc_array_get_string(list, 0), "en5");
	xpc_release(list);
}

TEST(start_bad_descriptions) {
	fails(xpc_dictionary_create_empty(), VMNET_INVALID_ARGUMENT);
	fails(description(999), VMNET_INVALID_ARGUMENT);
	xpc_object_t desc = xpc_dictionary_create_empty();
	xpc_dictionary_set_uint64(desc, "vmnet_operation_mode_key", VMNET_SHARED_MODE); // the variable's name is no key
	fails(desc, VMNET_INVALID_ARGUMENT);
	desc = xpc_dictionary_create_empty();
	xpc_dictionary_set_string(desc, vmnet_operation_mode_key, "1001");
	fails(desc, VMNET_INVALID_ARGUMENT);
	desc = description(VMNET_SHARED_MODE);
	xpc_dictionary_set_string(desc, vmnet_interface_id_key, "f47ac10b-58cc-4372-a567-0e02b2c3d479");
	fails(desc, VMNET_INVALID_ARGUMENT);
	desc = description(VMNET_SHARED_MODE);
	xpc_dictionary_set_bool(desc, vmnet_enable_virtio_header_key, true);
	xpc_dictionary_set_bool(desc, vmnet_enable_checksum_offload_key, true);
	fails(desc, VMNET_INVALID_ARGUMENT);
	desc = description(VMNET_SHARED_MODE);
	xpc_dictionary_set_uint64(desc, vmnet_mtu_key, 20);
	fails(desc, VMNET_INVALID_ARGUMENT);
	desc = description(VMNET_SHARED_MODE);
	xpc_dictionary_set_string(desc, vmnet_start_address_key, "192.168.5.1");
	fails(desc, VMNET_FAILURE); // one of three
}

TEST(start_subnets) {
	static const struct {
		const char *first, *last, *mask;
		vmnet_return_t want;
	} cases[] = {
		{"10.1.2.1", "10.1.2.254", "255.255.255.0", VMNET_SUCCESS},    {"172.16.0.1", "172.16.0.2", "255.255.255.252", VMNET_SUCCESS},
		{"192.168.0.1", "192.168.255.254", "255.255.0.0", VMNET_SUCCESS}, {"192.168.5.0", "192.168.5.254", "255.255.255.0", VMNET_FAILURE},
		{"8.8.8.1", "8.8.8.254", "255.255.255.0", VMNET_FAILURE},      {"169.254.1.1", "169.254.1.254", "255.255.255.0", VMNET_FAILURE},
		{"172.32.0.1", "172.32.0.9", "255.255.255.0", VMNET_FAILURE},  {"192.168.5.9", "192.168.5.1", "255.255.255.0", VMNET_FAILURE},
		{"192.168.5.1", "192.168.6.9", "255.255.255.0", VMNET_FAILURE}, {"192.168.5.1", "192.168.5.9", "255.0.255.0", VMNET_FAILURE},
		{"192.168.5.1", "192.168.5.255", "255.255.255.0", VMNET_FAILURE}, {"192.168.5.1", "192.168.5.2", "255.255.255.254", VMNET_FAILURE},
		{"nonsense", "192.168.5.2", "255.255.255.0", VMNET_FAILURE},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct started s = on_subnet(VMNET_SHARED_MODE, cases[i].first, cases[i].last, cases[i].mask);
		if (s.status != cases[i].want)
			FAIL("%s-%s: got %u, want %u", cases[i].first, cases[i].last, s.status, cases[i].want);
		if (s.status != VMNET_SUCCESS)
			continue;
		TEXT(text(&s, vmnet_start_address_key), cases[i].first);
		TEXT(text(&s, vmnet_end_address_key), cases[i].last);
		TEXT(text(&s, vmnet_subnet_mask_key), cases[i].mask);
		stop(&s);
	}
}

TEST(start_conflicts) {
	struct started a = on_subnet(VMNET_SHARED_MODE, "192.168.64.1", "192.168.64.100", "255.255.255.0");
	EQUAL(a.status, VMNET_SUCCESS);
	struct started same = on_subnet(VMNET_SHARED_MODE, "192.168.64.1", "192.168.64.100", "255.255.255.0");
	EQUAL(same.status, VMNET_SUCCESS); // the three alike: the same network
	EQUAL(libvmnet_test_get("live.networks"), 1);
	EQUAL(on_subnet(VMNET_SHARED_MODE, "192.168.64.1", "192.168.64.99", "255.255.255.0").status, VMNET_FAILURE);
	EQUAL(on_subnet(VMNET_HOST_MODE, "192.168.64.1", "192.168.64.100", "255.255.255.0").status, VMNET_FAILURE);
	EQUAL(on_subnet(VMNET_SHARED_MODE, "192.168.0.1", "192.168.0.9", "255.255.0.0").status, VMNET_FAILURE);
	struct started next = start(VMNET_SHARED_MODE); // the default's place is taken
	TEXT(text(&next, vmnet_start_address_key), "192.168.65.1");
	stop(&a);
	stop(&same);
	stop(&next);
	EQUAL(libvmnet_test_get("live.networks"), 0);
}

TEST(start_identified) {
	static const uint8_t id[16] = {7};
	xpc_object_t desc = description(VMNET_HOST_MODE);
	xpc_dictionary_set_uuid(desc, vmnet_network_identifier_key, id);
	struct started plain = start_with(desc);
	EQUAL(plain.status, VMNET_SUCCESS);
	EQUAL(xpc_dictionary_get_count(plain.param), 6);
	stop(&plain);
	desc = description(VMNET_HOST_MODE);
	xpc_dictionary_set_uuid(desc, vmnet_network_identifier_key, id);
	xpc_dictionary_set_string(desc, vmnet_host_ip_address_key, "10.9.9.1");
	xpc_dictionary_set_string(desc, vmnet_host_subnet_mask_key, "255.255.255.0");
	xpc_dictionary_set_string(desc, vmnet_host_ipv6_address_key, "fd00:9::1");
	struct started addressed = start_with(desc);
	EQUAL(addressed.status, VMNET_SUCCESS);
	stop(&addressed);
	desc = description(VMNET_SHARED_MODE);
	xpc_dictionary_set_uuid(desc, vmnet_network_identifier_key, id);
	fails(desc, VMNET_INVALID_ARGUMENT);
	desc = description(VMNET_HOST_MODE);
	xpc_dictionary_set_string(desc, vmnet_host_ip_address_key, "10.9.9.1");
	xpc_dictionary_set_string(desc, vmnet_host_subnet_mask_key, "255.255.255.0");
	fails(desc, VMNET_INVALID_ARGUMENT);
}

TEST(start_nat66) {
	xpc_object_t desc = description(VMNET_SHARED_MODE);
	xpc_dictionary_set_string(desc, vmnet_nat66_prefix_key, "fd5e:ed00:127::");
	xpc_dictionary_set_uint64(desc, vmnet_nat66_prefix_length_key, 64);
	struct started s = start_with(desc);
	EQUAL(s.status, VMNET_SUCCESS);
	TEXT(text(&s, vmnet_nat66_prefix_key), "fd5e:ed00:127:0::");
	stop(&s);
	static const char *const bad[] = {"2001:db8::", "fd00::1", "x"};
	for (int i = 0; i < 3; i++) {
		desc = description(VMNET_SHARED_MODE);
		xpc_dictionary_set_string(desc, vmnet_nat66_prefix_key, bad[i]);
		fails(desc, VMNET_FAILURE);
	}
	desc = description(VMNET_HOST_MODE);
	xpc_dictionary_set_string(desc, vmnet_nat66_prefix_key, "fd00::");
	fails(desc, VMNET_FAILURE);
}

static struct started with_id(uint8_t first) {
	uint8_t id[16] = {first};
	xpc_object_t desc = description(VMNET_SHARED_MODE);
	xpc_dictionary_set_uuid(desc, vmnet_interface_id_key, id);
	return start_with(desc);
}

TEST(start_stable_mac) {
	char first[18];
	struct started s = with_id(1);
	snprintf(first, sizeof first, "%s", text(&s, vmnet_mac_address_key));
	CHECK(xpc_dictionary_get_uuid(s.param, vmnet_interface_id_key)[0] == 1);
	EQUAL(with_id(1).status, VMNET_FAILURE); // in use
	struct started other = with_id(2);
	CHECK(strcmp(text(&other, vmnet_mac_address_key), first) != 0);
	stop(&other);
	stop(&s);
	s = with_id(1);
	TEXT(text(&s, vmnet_mac_address_key), first);
	stop(&s);
	xpc_object_t desc = description(VMNET_SHARED_MODE);
	xpc_dictionary_set_bool(desc, vmnet_allocate_mac_address_key, false);
	s = start_with(desc);
	CHECK(text(&s, vmnet_mac_address_key) == NULL);
	stop(&s);
}

TEST(start_sizes) {
	xpc_object_t desc = description(VMNET_SHARED_MODE);
	xpc_dictionary_set_bool(desc, vmnet_enable_tso_key, true);
	xpc_dictionary_set_bool(desc, vmnet_enable_checksum_offload_key, true);
	struct started s = start_with(desc);
	EQUAL(xpc_dictionary_get_uint64(s.param, vmnet_max_packet_size_key), 65550);
	EQUAL(xpc_dictionary_get_uint64(s.param, vmnet_mtu_key), 1500);
	stop(&s);
	desc = description(VMNET_HOST_MODE);
	xpc_dictionary_set_uint64(desc, vmnet_mtu_key, 9000);
	s = start_with(desc);
	EQUAL(xpc_dictionary_get_uint64(s.param, vmnet_max_packet_size_key), 9014);
	EQUAL(xpc_dictionary_get_uint64(s.param, vmnet_mtu_key), 9000);
	stop(&s);
	control("batch.keys", 0);
	s = start(VMNET_SHARED_MODE);
	CHECK(xpc_dictionary_get_value(s.param, vmnet_read_max_packets_key) == NULL);
	stop(&s);
}

TEST(start_limit) {
	struct started all[32];
	for (int i = 0; i < 32; i++)
		all[i] = start(i % 2 == 0 ? VMNET_SHARED_MODE : VMNET_HOST_MODE);
	EQUAL(libvmnet_test_get("live.interfaces"), 32);
	fails(description(VMNET_SHARED_MODE), VMNET_FAILURE);
	for (int i = 0; i < 32; i++)
		stop(&all[i]);
}

TEST(start_privilege) {
	control("privilege", 0);
	fails(description(VMNET_SHARED_MODE), VMNET_FAILURE);
	fails(description(VMNET_HOST_MODE), VMNET_FAILURE);
}

TEST(start_faults) {
	control("fail.start", VMNET_SHARING_SERVICE_BUSY);
	control("count.fail.start", 1);
	fails(description(VMNET_SHARED_MODE), VMNET_SHARING_SERVICE_BUSY);
	struct started s = start(VMNET_SHARED_MODE);
	stop(&s);
	control("count.fail.start", -1);
	control("null.start", 1);
	s = start_with(description(VMNET_SHARED_MODE));
	EQUAL(s.status, VMNET_SHARING_SERVICE_BUSY);
	CHECK(s.ref == NULL);
	control("null.start", 2);
	xpc_object_t desc = description(VMNET_SHARED_MODE);
	CHECK(vmnet_start_interface(desc, queue, ^(vmnet_return_t status, xpc_object_t param) {
		FAIL("handler called: %u %p", status, param);
	}) == NULL);
	xpc_release(desc);
	control("fail.start", 0);
	control("late.start", 30);
	s = start(VMNET_SHARED_MODE);
	EQUAL(libvmnet_test_get("count.late"), 1);
	stop(&s);
}

TEST(start_not_yet_complete) {
	control("hang.start", 1);
	xpc_object_t desc = description(VMNET_SHARED_MODE);
	dispatch_semaphore_t called = dispatch_semaphore_create(0);
	interface_ref ref = vmnet_start_interface(desc, queue, ^(vmnet_return_t status, xpc_object_t param) {
		CHECK(status == VMNET_SUCCESS && param != NULL);
		dispatch_semaphore_signal(called);
	});
	xpc_release(desc);
	CHECK(ref != NULL);
	uint8_t bytes[1514];
	frame(bytes, 60, 255, 1);
	EQUAL(write_one(ref, bytes, 60), VMNET_SETUP_INCOMPLETE);
	EQUAL(vmnet_interface_set_event_callback(ref, 1, NULL, NULL), VMNET_SETUP_INCOMPLETE);
	EQUAL(vmnet_stop_interface(ref, queue, ^(vmnet_return_t status) {
		FAIL("handler called: %u", status);
	}), VMNET_SETUP_INCOMPLETE);
	EQUAL(dispatch_semaphore_wait(called, dispatch_time(DISPATCH_TIME_NOW, 20000000)) != 0, 1);
	control("hang.start", 0);
	EQUAL(dispatch_semaphore_wait(called, DISPATCH_TIME_FOREVER), 0);
	dispatch_release(called);
	struct started s = {ref, VMNET_SUCCESS, NULL};
	stop(&s);
}

TEST(stop_faults) {
	struct started s = start(VMNET_SHARED_MODE);
	dispatch_semaphore_t called = dispatch_semaphore_create(0);
	__block vmnet_return_t got = 0;
	vmnet_interface_completion_handler_t handler = ^(vmnet_return_t status) {
		got = status;
		dispatch_semaphore_signal(called);
	};
	control("fail.stop", VMNET_FAILURE);
	EQUAL(vmnet_stop_interface(s.ref, queue, handler), VMNET_SUCCESS);
	dispatch_semaphore_wait(called, DISPATCH_TIME_FOREVER);
	EQUAL(got, VMNET_FAILURE);
	EQUAL(libvmnet_test_get("live.interfaces"), 1);
	control("fail.stop", 0);
	control("hang.stop", 1);
	EQUAL(vmnet_stop_interface(s.ref, queue, handler), VMNET_SUCCESS);
	CHECK(dispatch_semaphore_wait(called, dispatch_time(DISPATCH_TIME_NOW, 20000000)) != 0);
	uint8_t bytes[60];
	frame(bytes, 60, 255, 1);
	EQUAL(write_one(s.ref, bytes, 60), VMNET_SETUP_INCOMPLETE); // stopped already
	EQUAL(vmnet_stop_interface(s.ref, queue, handler), VMNET_FAILURE);
	control("hang.stop", 0);
	dispatch_semaphore_wait(called, DISPATCH_TIME_FOREVER);
	EQUAL(got, VMNET_SUCCESS);
	done(&s);
	dispatch_release(called);
}

ABORT(iface_null, "interface is NULL") {
	int n = 1;
	vmnet_read(NULL, NULL, &n);
}
ABORT(iface_after_stop, "used after it was stopped") {
	struct started s = start(VMNET_SHARED_MODE);
	interface_ref ref = s.ref;
	stop(&s);
	dispatch_sync(queue, ^{
	});
	int n = 1;
	vmnet_read(ref, NULL, &n);
}
ABORT(iface_not_one, "is not an interface") {
	static uint64_t words[64];
	int n = 1;
	vmnet_write((interface_ref)words, NULL, &n);
}
ABORT(start_null_description, "vmnet_start_interface: object is NULL") {
	vmnet_start_interface(NULL, queue, ^(vmnet_return_t status, xpc_object_t param) {
		(void)status, (void)param;
	});
}
ABORT(start_null_queue, "vmnet_start_interface: object is NULL") {
	vmnet_start_interface(description(VMNET_SHARED_MODE), NULL, ^(vmnet_return_t status, xpc_object_t param) {
		(void)status, (void)param;
	});
}
ABORT(start_null_handler, "vmnet_start_interface: block is NULL") { vmnet_start_interface(description(VMNET_SHARED_MODE), queue, NULL); }
ABORT(param_not_retained, "use after free") {
	xpc_object_t desc = description(VMNET_SHARED_MODE);
	dispatch_semaphore_t called = dispatch_semaphore_create(0);
	__block xpc_object_t kept = NULL;
	vmnet_start_interface(desc, queue, ^(vmnet_return_t status, xpc_object_t param) {
		CHECK(status == VMNET_SUCCESS);
		kept = param;
		dispatch_semaphore_signal(called);
	});
	dispatch_semaphore_wait(called, DISPATCH_TIME_FOREVER);
	dispatch_sync(queue, ^{
	});
	xpc_dictionary_get_uint64(kept, vmnet_mtu_key);
}
