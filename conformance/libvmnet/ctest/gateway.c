// What a guest gets from the host's end of a network.
#include "test.h"

static uint8_t in[1514];

static uint8_t hex(char c) {
	return (uint8_t)(c <= '9' ? c - '0' : c - 'a' + 10);
}

// bytes writes a text of hexadecimal digits, spaces ignored.
static size_t bytes(uint8_t *at, const char *text) {
	size_t n = 0;
	for (; *text != '\0'; text++)
		if (*text != ' ') {
			at[n++] = (uint8_t)(hex(text[0]) << 4 | hex(text[1]));
			text++;
		}
	return n;
}

static uint16_t sum(const uint8_t *at, size_t n, uint32_t start) {
	for (size_t i = 0; i + 1 < n; i += 2)
		start += (uint32_t)(at[i] << 8 | at[i + 1]);
	if (n % 2 == 1)
		start += (uint32_t)(at[n - 1] << 8);
	while (start >> 16 != 0)
		start = (start & 0xffff) + (start >> 16);
	return (uint16_t)start;
}

// ask sends a frame and gives the answer's length, 0 for none.
static size_t ask(const struct started *s, const uint8_t *frame_, size_t length) {
	EQUAL(write_one(s->ref, frame_, length), VMNET_SUCCESS);
	return read_one(s->ref, in, sizeof in);
}

TEST(gateway_arp) {
	struct started s = start(VMNET_SHARED_MODE);
	uint8_t out[60] = {0};
	bytes(out, "ffffffffffff 020000000001 0806 0001 0800 0604 0001 020000000001 c0a84009 000000000000 c0a84001");
	EQUAL(ask(&s, out, 60), 60);
	uint8_t want[8];
	bytes(want, "0001080006040002");
	CHECK(memcmp(in + 14, want, 8) == 0 && memcmp(in, out + 6, 6) == 0 && memcmp(in + 28, out + 38, 4) == 0 && memcmp(in + 32, out + 22, 10) == 0);
	out[41] = 77; // somebody else's address
	EQUAL(ask(&s, out, 60), 0);
	out[41] = 1;
	control("gateway", 0);
	EQUAL(ask(&s, out, 60), 0);
	stop(&s);
}

TEST(gateway_ping) {
	struct started s = start(VMNET_SHARED_MODE);
	uint8_t out[98] = {0};
	bytes(out, "ffffffffffff 020000000001 0800 4500 0054 0000 0000 4001 0000 c0a84009 c0a84001 0800 0000 0001 0007");
	memset(out + 42, 'x', 56);
	uint16_t check = (uint16_t)~sum(out + 34, 64, 0);
	out[36] = (uint8_t)(check >> 8);
	out[37] = (uint8_t)check;
	EQUAL(ask(&s, out, sizeof out), sizeof out);
	CHECK(in[34] == 0 && in[41] == 7 && memcmp(in + 42, out + 42, 56) == 0 && memcmp(in + 26, out + 30, 4) == 0);
	EQUAL(sum(in + 34, 64, 0), 0xffff);
	stop(&s);
}

// dhcp makes a message; wanted and server are left out when 0.
static size_t dhcp(uint8_t *out, uint8_t station, uint8_t type, uint32_t wanted, uint32_t server) {
	memset(out, 0, 342);
	bytes(out, "ffffffffffff 020000000000 0800 4500 0148 0000 0000 4011 0000 00000000 ffffffff 0044 0043 0134 0000 01010600 11223344");
	out[11] = station;
	memcpy(out + 70, out + 6, 6);
	size_t at = 278 + bytes(out + 278, "63825363 3501");
	out[at++] = type;
	uint32_t values[2] = {htonl(wanted), htonl(server)};
	for (int i = 0; i < 2; i++)
		if (values[i] != 0) {
			out[at++] = i == 0 ? 50 : 54;
			out[at++] = 4;
			memcpy(out + at, &values[i], 4);
			at += 4;
		}
	out[at] = 255;
	return 342;
}

static const uint8_t *option(uint8_t code) {
	for (size_t at = 282; in[at] != 255; at += 2u + in[at + 1])
		if (in[at] == code)
			return in + at + 2;
	return NULL;
}

static uint32_t word(const uint8_t *at) {
	return at == NULL ? 0 : (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

TEST(gateway_dhcp) {
	struct started s = start(VMNET_SHARED_MODE);
	uint8_t out[400];
	CHECK(ask(&s, out, dhcp(out, 1, 1, 0, 0)) > 282);
	EQUAL(*option(53), 2);
	EQUAL(word(in + 58), 0xc0a84002);
	EQUAL(word(option(54)), 0xc0a84001);
	EQUAL(word(option(1)), 0xffffff00);
	EQUAL(word(option(3)), 0xc0a84001);
	EQUAL(word(option(6)), 0xc0a84001);
	EQUAL(word(option(51)), 86400);
	EQUAL(sum(in + 14, 20, 0), 0xffff);
	CHECK(ask(&s, out, dhcp(out, 1, 3, 0xc0a84002, 0xc0a84001)) > 282);
	EQUAL(*option(53), 5);
	CHECK(ask(&s, out, dhcp(out, 1, 3, 0xc0a84063, 0xc0a84001)) > 282);
	EQUAL(*option(53), 6); // not its address
	EQUAL(ask(&s, out, dhcp(out, 1, 3, 0xc0a84002, 0x0a000001)), 0); // another server was chosen
	CHECK(ask(&s, out, dhcp(out, 2, 1, 0, 0)) > 282);
	EQUAL(word(in + 58), 0xc0a84003);
	CHECK(ask(&s, out, dhcp(out, 1, 1, 0, 0)) > 282);
	EQUAL(word(in + 58), 0xc0a84002); // the same again
	control("dhcp", 0);
	EQUAL(ask(&s, out, dhcp(out, 3, 1, 0, 0)), 0);
	stop(&s);
}

TEST(gateway_dhcp_range) {
	xpc_object_t desc = description(VMNET_HOST_MODE);
	xpc_dictionary_set_string(desc, vmnet_start_address_key, "10.5.5.1");
	xpc_dictionary_set_string(desc, vmnet_end_address_key, "10.5.5.3");
	xpc_dictionary_set_string(desc, vmnet_subnet_mask_key, "255.255.255.0");
	struct started s = start_with(desc);
	uint8_t out[400];
	for (uint8_t i = 1; i <= 2; i++) {
		CHECK(ask(&s, out, dhcp(out, i, 1, 0, 0)) > 282);
		EQUAL(word(in + 58), 0x0a050501u + i);
		CHECK(option(3) == NULL); // host mode tells no router
	}
	EQUAL(ask(&s, out, dhcp(out, 3, 1, 0, 0)), 0); // used up
	stop(&s);
	static const uint8_t id[16] = {3};
	desc = description(VMNET_HOST_MODE);
	xpc_dictionary_set_uuid(desc, vmnet_network_identifier_key, id);
	s = start_with(desc);
	EQUAL(ask(&s, out, dhcp(out, 1, 1, 0, 0)), 0);
	stop(&s);
}

static struct started on_network(void (*change)(vmnet_network_configuration_ref)) {
	vmnet_network_configuration_ref c = vmnet_network_configuration_create(VMNET_SHARED_MODE, NULL);
	struct in_addr a = {htonl(0xc0a80901)}, mask = {htonl(0xffffff00)};
	vmnet_network_configuration_set_ipv4_subnet(c, &a, &mask);
	change(c);
	vmnet_network_ref n = vmnet_network_create(c, NULL);
	CFRelease(c);
	struct started s = start_on(n, xpc_dictionary_create_empty());
	EQUAL(s.status, VMNET_SUCCESS);
	CFRelease(n);
	return s;
}

static void reserve(vmnet_network_configuration_ref c) {
	libvmnet_ether_addr_t mac = {{2, 0, 0, 0, 0, 9}};
	struct in_addr a = {htonl(0xc0a80902)};
	EQUAL(vmnet_network_configuration_add_dhcp_reservation(c, &mac, &a), VMNET_SUCCESS);
	vmnet_network_configuration_disable_dns_proxy(c);
}

TEST(gateway_dhcp_reservation) {
	struct started s = on_network(reserve);
	uint8_t out[400];
	CHECK(ask(&s, out, dhcp(out, 1, 1, 0, 0)) > 282);
	EQUAL(word(in + 58), 0xc0a80903); // the first is another's
	CHECK(option(6) == NULL);
	CHECK(ask(&s, out, dhcp(out, 9, 1, 0, 0)) > 282);
	EQUAL(word(in + 58), 0xc0a80902);
	stop(&s);
}

TEST(gateway_dhcp_disabled) {
	struct started s = on_network(vmnet_network_configuration_disable_dhcp);
	uint8_t out[400];
	EQUAL(ask(&s, out, dhcp(out, 1, 1, 0, 0)), 0);
	stop(&s);
}

// icmp6 makes a message to all routers from fe80::1.
static size_t icmp6(uint8_t *out, const char *message) {
	memset(out, 0, 200);
	bytes(out, "333300000002 020000000001 86dd 60000000 0000 3aff fe800000000000000000000000000001 ff020000000000000000000000000002");
	size_t n = bytes(out + 54, message);
	out[19] = (uint8_t)n;
	return 54 + n;
}

static void right_sum(void) {
	size_t n = (size_t)(in[18] << 8 | in[19]);
	EQUAL(sum(in + 54, n, (uint32_t)sum(in + 22, 32, (uint32_t)n + 58)), 0xffff);
}

TEST(gateway_ipv6) {
	xpc_object_t desc = description(VMNET_SHARED_MODE);
	xpc_dictionary_set_string(desc, vmnet_nat66_prefix_key, "fd5e:ed00:127::");
	struct started s = start_with(desc);
	uint8_t out[200];
	EQUAL(ask(&s, out, icmp6(out, "8500 0000 00000000")), 118);
	CHECK(in[54] == 134 && in[54 + 32] == 3 && memcmp(in + 54 + 48, "\xfd\x5e\xed\0\1\x27\0\0", 8) == 0);
	right_sum();
	EQUAL(ask(&s, out, icmp6(out, "8700 0000 00000000 fd5eed00012700000000000000000001")), 86);
	CHECK(in[54] == 136 && in[54 + 23] == 1);
	right_sum();
	EQUAL(ask(&s, out, icmp6(out, "8700 0000 00000000 fd5eed00012700000000000000000002")), 0);
	size_t n = icmp6(out, "8000 0000 0001 0002 61626364");
	bytes(out + 38, "fd5eed00012700000000000000000001");
	EQUAL(ask(&s, out, n), n);
	CHECK(in[54] == 129 && memcmp(in + 62, "abcd", 4) == 0);
	right_sum();
	control("ra", 0);
	EQUAL(ask(&s, out, icmp6(out, "8500 0000 00000000")), 0);
	control("ra", 1);
	stop(&s);
	s = on_network(vmnet_network_configuration_disable_router_advertisement);
	EQUAL(ask(&s, out, icmp6(out, "8500 0000 00000000")), 0);
	stop(&s);
}
