// A small frame for the C tests: TEST registers a case that runs in a process of
// its own, ABORT one whose process must end with a message that holds a text.
#ifndef CTEST_H
#define CTEST_H

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block.h"
#include "libvmnet_test.h"
#include "vmnet/vmnet.h"

struct test {
	const char *name, *aborts;
	void (*run)(void);
	struct test *next;
	int role; // not listed: one of several processes of a case
};
void test_register(struct test *test);

#define TEST_CASE(id, text, is_role)                                                                                                                          \
	static void test_##id(void);                                                                                                                     \
	__attribute__((constructor)) static void register_##id(void) {                                                                                   \
		static struct test test = {#id, text, test_##id, NULL, is_role};                                                                                      \
		test_register(&test);                                                                                                                        \
	}                                                                                                                                                \
	static void test_##id(void)
#define TEST(id) TEST_CASE(id, NULL, 0)
#define ABORT(id, text) TEST_CASE(id, text, 0)
#define ROLE(id) TEST_CASE(id, NULL, 1)
extern const char *argument; // of a role

#define FAIL(...)                                                                                                                                    \
	do {                                                                                                                                             \
		fprintf(stderr, "%s:%d: ", __FILE__, __LINE__);                                                                                              \
		fprintf(stderr, __VA_ARGS__);                                                                                                                \
		fprintf(stderr, "\n");                                                                                                                       \
		exit(1);                                                                                                                                     \
	} while (0)
#define CHECK(condition)                                                                                                                             \
	do {                                                                                                                                             \
		if (!(condition))                                                                                                                            \
			FAIL("%s", #condition);                                                                                                                  \
	} while (0)
#define EQUAL(got, want)                                                                                                                             \
	do {                                                                                                                                             \
		long long got_ = (long long)(got), want_ = (long long)(want);                                                                                \
		if (got_ != want_)                                                                                                                           \
			FAIL("%s: got %lld, want %lld", #got, got_, want_);                                                                                      \
	} while (0)
#define TEXT(got, want)                                                                                                                              \
	do {                                                                                                                                             \
		const char *got_ = (got), *want_ = (want);                                                                                                   \
		if (got_ == NULL || strcmp(got_, want_) != 0)                                                                                                \
			FAIL("%s: got %s, want %s", #got, got_ == NULL ? "NULL" : got_, want_);                                                                  \
	} while (0)

// eventually waits until a counter has a value, at most half a minute.
void eventually(const char *counter, int64_t want);
void control(const char *name, int64_t value);

// started is what start's handler said.
struct started {
	interface_ref ref;
	vmnet_return_t status;
	xpc_object_t param; // retained, or NULL
};
extern dispatch_queue_t queue; // serial, made before each case
xpc_object_t description(uint32_t mode);
struct started start_with(xpc_object_t desc); // releases desc
struct started start(uint32_t mode);          // must succeed
struct started start_on(vmnet_network_ref network, xpc_object_t desc);
void stop(struct started *s);
void done(const struct started *s); // releases param only

vmnet_return_t write_one(interface_ref ref, const void *bytes, size_t length);
// read_one gives the frame's length, 0 when none waits.
size_t read_one(interface_ref ref, void *bytes, size_t capacity);
// await_one polls read_one for at most half a minute.
size_t await_one(interface_ref ref, void *bytes, size_t capacity);
// frame makes a frame from station to station, 255 = to all.
void frame(uint8_t *bytes, size_t length, uint8_t to, uint8_t from);

#endif
