// Roles of cases with several processes and a broker. A role says "ready" or
// what the others need on a line of its output, and ends when its input ends.
#include "test.h"

static void say(const char *line) {
	printf("%s\n", line);
	fflush(stdout);
}

static void until_told(void) {
	while (getchar() != EOF) {
	}
}

static void echo_frames(interface_ref ref) {
	vmnet_interface_event_callback_t callback = ^(interface_event_t mask, xpc_object_t event) {
		(void)mask, (void)event;
		static uint8_t in[1514], out[1514];
		size_t n;
		while ((n = read_one(ref, in, sizeof in)) > 0) {
			memcpy(out, in, n);
			memcpy(out, in + 6, 6);
			memcpy(out + 6, "\2\0\0\0\0\7", 6);
			CHECK(write_one(ref, out, n) == VMNET_SUCCESS);
		}
	};
	EQUAL(vmnet_interface_set_event_callback(ref, 1, queue, callback), VMNET_SUCCESS);
}

// call sends frames of several lengths and wants each of them back.
static void call(interface_ref ref) {
	static uint8_t out[1514], in[1514];
	for (size_t length = 60; length <= 1514; length += 727) {
		frame(out, length, 255, 1);
		memset(out + 14, (int)length, length - 14);
		EQUAL(write_one(ref, out, length), VMNET_SUCCESS);
		EQUAL(await_one(ref, in, sizeof in), length);
		CHECK(memcmp(in + 14, out + 14, length - 14) == 0 && in[5] == 1 && in[11] == 7);
	}
}

ROLE(role_echo) {
	struct started s = start(VMNET_SHARED_MODE);
	echo_frames(s.ref);
	say("ready");
	until_told();
	stop(&s);
}

ROLE(role_call) {
	struct started s = start(VMNET_SHARED_MODE);
	call(s.ref);
	stop(&s);
}

// role_alone hears nothing of the shared network on its host network.
ROLE(role_alone) {
	struct started s = start(VMNET_HOST_MODE);
	static uint8_t bytes[1514];
	frame(bytes, 60, 255, 1);
	EQUAL(write_one(s.ref, bytes, 60), VMNET_SUCCESS);
	usleep(100000);
	EQUAL(read_one(s.ref, bytes, sizeof bytes), 0);
	stop(&s);
}

static vmnet_network_ref make_network(const char *base) {
	vmnet_return_t status = 0;
	vmnet_network_configuration_ref c = vmnet_network_configuration_create(VMNET_SHARED_MODE, &status);
	struct in_addr a, mask = {htonl(0xffffff00)};
	CHECK(inet_pton(AF_INET, base, &a) == 1);
	EQUAL(vmnet_network_configuration_set_ipv4_subnet(c, &a, &mask), VMNET_SUCCESS);
	vmnet_network_ref n = vmnet_network_create(c, &status);
	CFRelease(c);
	EQUAL(status, VMNET_SUCCESS);
	return n;
}

ROLE(role_owner) {
	vmnet_return_t status = 0;
	vmnet_network_ref n = make_network("192.168.91.1");
	xpc_object_t serial = vmnet_network_copy_serialization(n, &status);
	EQUAL(status, VMNET_SUCCESS);
	size_t length = 0;
	const uint8_t *data = xpc_dictionary_get_data(serial, "networkSerialization", &length);
	char hex[241];
	for (size_t i = 0; i < length && i < 120; i++)
		snprintf(hex + 2 * i, 3, "%02x", data[i]);
	xpc_release(serial);
	struct started s = start_on(n, xpc_dictionary_create_empty());
	EQUAL(s.status, VMNET_SUCCESS);
	echo_frames(s.ref);
	say(hex);
	until_told();
	stop(&s);
	CFRelease(n);
}

static vmnet_network_ref open_network(vmnet_return_t *status) {
	uint8_t data[120];
	for (size_t i = 0; i < sizeof data; i++) {
		unsigned value = 0;
		CHECK(sscanf(argument + 2 * i, "%2x", &value) == 1);
		data[i] = (uint8_t)value;
	}
	xpc_object_t serial = xpc_dictionary_create_empty();
	xpc_dictionary_set_data(serial, "networkSerialization", data, sizeof data);
	vmnet_network_ref n = vmnet_network_create_with_serialization(serial, status);
	xpc_release(serial);
	return n;
}

ROLE(role_joiner) {
	vmnet_return_t status = 0;
	vmnet_network_ref n = open_network(&status);
	EQUAL(status, VMNET_SUCCESS);
	struct started s = start_on(n, xpc_dictionary_create_empty());
	EQUAL(s.status, VMNET_SUCCESS);
	call(s.ref);
	say("ready");
	until_told();
	stop(&s);
	CFRelease(n);
}

// role_late comes when the owner was killed.
ROLE(role_late) {
	vmnet_return_t status = 0;
	CHECK(open_network(&status) == NULL);
	EQUAL(status, VMNET_FAILURE);
	vmnet_network_configuration_ref c = vmnet_network_configuration_create(VMNET_SHARED_MODE, NULL);
	struct in_addr a, mask = {htonl(0xffffff00)};
	inet_pton(AF_INET, "192.168.91.1", &a);
	vmnet_network_configuration_set_ipv4_subnet(c, &a, &mask);
	CHECK(vmnet_network_create(c, &status) == NULL); // the subnet is still held by the other
	EQUAL(status, VMNET_FAILURE);
	CFRelease(c);
}

ROLE(role_no_broker) {
	struct started s = start_with(description(VMNET_SHARED_MODE));
	EQUAL(s.status, VMNET_FAILURE);
}


static uint16_t sum(const uint8_t *at, size_t n, uint32_t total) {
	for (size_t i = 0; i + 1 < n; i += 2)
		total += (uint32_t)(at[i] << 8 | at[i + 1]);
	while (total >> 16 != 0)
		total = (total & 0xffff) + (total >> 16);
	return (uint16_t)~total;
}

static void put16(uint8_t *at, uint16_t value) {
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

// exchange sends a frame again and again, as guests do, until an answer of the
// ethertype 0x08xx comes, and for IPv4 of the protocol.
static void exchange(interface_ref ref, const uint8_t *out, size_t length, uint8_t *in, uint8_t type, uint8_t protocol) {
	for (int i = 0; i < 15000; i++) {
		if (i % 100 == 0)
			EQUAL(write_one(ref, out, length), VMNET_SUCCESS);
		while (read_one(ref, in, 65550) > 0)
			if (in[12] == 8 && in[13] == type && (type != 0 || in[23] == protocol))
				return;
		usleep(2000);
	}
	FAIL("no answer of type 0x08%02x, protocol %u in half a minute", type, protocol);
}

// role_tap is a guest of the kernel at the other end of a tap: ARP, ping, and a
// TCP segment of 3000 bytes for a closed port, which the kernel answers with a
// reset only when it took the large frame as TSO's.
ROLE(role_tap) {
	static uint8_t out[4000], in[65550];
	xpc_object_t desc = description(VMNET_SHARED_MODE);
	xpc_dictionary_set_bool(desc, vmnet_enable_tso_key, true);
	xpc_dictionary_set_bool(desc, vmnet_enable_checksum_offload_key, true);
	struct started s = start_with(desc);
	EQUAL(s.status, VMNET_SUCCESS);
	memset(out, 0xff, 6);
	memcpy(out + 6, "\2\0\0\0\0\1\x08\x06\0\1\x08\0\6\4\0\1\2\0\0\0\0\1\xc0\xa8\x40\x09\0\0\0\0\0\0\xc0\xa8\x40\1", 36);
	exchange(s.ref, out, 60, in, 6, 0);
	CHECK(in[21] == 2 && memcmp(in + 28, out + 38, 4) == 0);

	memcpy(out, in + 6, 6);
	memset(out + 14, 0, sizeof out - 14);
	memcpy(out + 12, "\x08\0\x45\0\0\x54\0\0\0\0\x40\1\0\0\xc0\xa8\x40\x09\xc0\xa8\x40\1\x08", 23);
	put16(out + 36, sum(out + 34, 64, 0));
	exchange(s.ref, out, 98, in, 0, 1);
	EQUAL(in[34], 0);

	memset(out + 34, 0, sizeof out - 34);
	out[23] = 6;
	put16(out + 16, 3040);
	put16(out + 34, 40000);
	put16(out + 36, 9);
	memcpy(out + 46, "\x50\x10\xff\xff", 4);
	exchange(s.ref, out, 3054, in, 0, 6);
	CHECK((in[47] & 4) != 0 && in[35] == 9);
	stop(&s);
}
