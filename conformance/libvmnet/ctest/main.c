// libvmnet-ctest: without arguments lists the cases, "name" or "name<TAB>text of
// the abort"; with a name runs that case.
#include "test.h"

#include <time.h>

static struct test *tests;
dispatch_queue_t queue;
const char *argument;

void test_register(struct test *test) {
	test->next = tests;
	tests = test;
}

static void nap(void) {
	nanosleep(&(struct timespec){0, 1000000}, NULL);
}

void eventually(const char *counter, int64_t want) {
	for (int i = 0; i < 30000; i++) {
		if (libvmnet_test_get(counter) == want)
			return;
		nap();
	}
	FAIL("%s: got %lld, want %lld", counter, (long long)libvmnet_test_get(counter), (long long)want);
}

void control(const char *name, int64_t value) {
	if (libvmnet_test_set(name, value) != 0)
		FAIL("control %s: there is none", name);
}

xpc_object_t description(uint32_t mode) {
	xpc_object_t desc = xpc_dictionary_create(NULL, NULL, 0);
	xpc_dictionary_set_uint64(desc, vmnet_operation_mode_key, mode);
	return desc;
}

typedef interface_ref (^starter)(vmnet_start_interface_completion_handler_t);

static struct started start_by(starter begin) {
	dispatch_semaphore_t called = dispatch_semaphore_create(0);
	__block struct started s = {0};
	interface_ref ref = begin(^(vmnet_return_t status, xpc_object_t param) {
		s.status = status;
		s.param = param == NULL ? NULL : xpc_retain(param);
		dispatch_semaphore_signal(called);
	});
	EQUAL(dispatch_semaphore_wait(called, dispatch_time(DISPATCH_TIME_NOW, 30000000000)), 0);
	dispatch_release(called);
	s.ref = ref;
	return s;
}

struct started start_with(xpc_object_t desc) {
	struct started s = start_by(^(vmnet_start_interface_completion_handler_t handler) {
		return vmnet_start_interface(desc, queue, handler);
	});
	xpc_release(desc);
	return s;
}

struct started start_on(vmnet_network_ref network, xpc_object_t desc) {
	struct started s = start_by(^(vmnet_start_interface_completion_handler_t handler) {
		return vmnet_interface_start_with_network(network, desc, queue, handler);
	});
	xpc_release(desc);
	return s;
}

struct started start(uint32_t mode) {
	struct started s = start_with(description(mode));
	EQUAL(s.status, VMNET_SUCCESS);
	CHECK(s.ref != NULL && s.param != NULL);
	return s;
}

void done(const struct started *s) {
	if (s->param != NULL)
		xpc_release(s->param);
}

void stop(struct started *s) {
	dispatch_semaphore_t called = dispatch_semaphore_create(0);
	__block vmnet_return_t result = 0;
	EQUAL(vmnet_interface_set_event_callback(s->ref, 1, NULL, NULL), VMNET_SUCCESS);
	dispatch_sync(queue, ^{
	}); // an event that runs already ends before the stop
	EQUAL(vmnet_stop_interface(s->ref, queue, ^(vmnet_return_t status) {
		result = status;
		dispatch_semaphore_signal(called);
	}), VMNET_SUCCESS);
	EQUAL(dispatch_semaphore_wait(called, dispatch_time(DISPATCH_TIME_NOW, 30000000000)), 0);
	dispatch_release(called);
	EQUAL(result, VMNET_SUCCESS);
	done(s);
}

void frame(uint8_t *bytes, size_t length, uint8_t to, uint8_t from) {
	memset(bytes, 0, length);
	bytes[0] = to == 255 ? 0xff : 0x02;
	memset(bytes + 1, to == 255 ? 0xff : 0, 4);
	bytes[5] = to;
	bytes[6] = 0x02;
	bytes[11] = from;
	bytes[12] = 0x88;
	bytes[13] = 0xb5;
}

vmnet_return_t write_one(interface_ref ref, const void *bytes, size_t length) {
	struct iovec part = {(void *)(uintptr_t)bytes, length};
	struct vmpktdesc packet = {length, &part, 1, 0};
	int n = 1;
	vmnet_return_t status = vmnet_write(ref, &packet, &n);
	if (status == VMNET_SUCCESS)
		EQUAL(n, 1);
	return status;
}

size_t read_one(interface_ref ref, void *bytes, size_t capacity) {
	struct iovec part = {bytes, capacity};
	struct vmpktdesc packet = {capacity, &part, 1, 0};
	int n = 1;
	EQUAL(vmnet_read(ref, &packet, &n), VMNET_SUCCESS);
	EQUAL(part.iov_len, capacity);
	return n == 0 ? 0 : packet.vm_pkt_size;
}

size_t await_one(interface_ref ref, void *bytes, size_t capacity) {
	for (int i = 0; i < 30000; i++) {
		size_t n = read_one(ref, bytes, capacity);
		if (n > 0)
			return n;
		nap();
	}
	FAIL("no frame in half a minute");
}

int main(int argc, char **argv) {
	for (struct test *t = tests; t != NULL; t = t->next) {
		if (argc < 2) {
			if (!t->role)
				printf("%s%s%s\n", t->name, t->aborts == NULL ? "" : "\t", t->aborts == NULL ? "" : t->aborts);
			continue;
		}
		if (strcmp(argv[1], t->name) != 0)
			continue;
		argument = argc > 2 ? argv[2] : "";
		queue = dispatch_queue_create("test", DISPATCH_QUEUE_SERIAL);
		t->run();
		dispatch_release(queue);
		// Whatever a case made must be gone when it ends.
		static const char *const live[] = {"live.interfaces", "live.blocks", "live.xpc", "live.queues", "live.semaphores", "live.cf"};
		for (size_t i = 0; i < sizeof live / sizeof *live; i++)
			eventually(live[i], 0);
		return 0;
	}
	if (argc >= 2)
		FAIL("no case %s", argv[1]);
	return 0;
}
