#include "test.h"

#include <dirent.h>
#include <stdatomic.h>

static int threads(void) {
	DIR *tasks = opendir("/proc/self/task");
	int n = -2; // . and ..
	while (readdir(tasks) != NULL)
		n++;
	closedir(tasks);
	return n;
}

static void cycle(int i) {
	struct started s = start(i % 2 == 0 ? VMNET_SHARED_MODE : VMNET_HOST_MODE);
	interface_ref ref = s.ref;
	vmnet_interface_event_callback_t callback = ^(interface_event_t mask, xpc_object_t event) {
		(void)mask, (void)event;
		uint8_t bytes[1514];
		while (read_one(ref, bytes, sizeof bytes) > 0) {
		}
	};
	EQUAL(vmnet_interface_set_event_callback(ref, 1, queue, callback), VMNET_SUCCESS);
	uint8_t bytes[60];
	frame(bytes, sizeof bytes, 255, (uint8_t)i);
	for (int k = 0; k < 3; k++)
		EQUAL(libvmnet_test_inject(ref, bytes, sizeof bytes), 0);
	stop(&s);
}

TEST(two_thousand_cycles) {
	for (int i = 0; i < 2000; i++)
		cycle(i);
	EQUAL(libvmnet_test_get("live.interfaces"), 0);
	EQUAL(libvmnet_test_get("live.networks"), 0);
	eventually("live.threads", 0);
	// The kernel lists a thread a little longer than the library counts it.
	for (int i = 0; i < 30000 && threads() > 1; i++)
		usleep(1000);
	EQUAL(threads(), 1);
}

// Four queues start, send to each other and stop at the same time.
TEST(concurrent_cycles) {
	dispatch_semaphore_t end = dispatch_semaphore_create(0);
	for (int w = 0; w < 4; w++)
		dispatch_async(dispatch_get_global_queue(0, 0), ^{
			for (int i = 0; i < 100; i++) {
				dispatch_queue_t own = dispatch_queue_create("own", NULL);
				dispatch_semaphore_t step = dispatch_semaphore_create(0);
				xpc_object_t desc = description(VMNET_SHARED_MODE);
				interface_ref ref = vmnet_start_interface(desc, own, ^(vmnet_return_t status, xpc_object_t param) {
					CHECK(status == VMNET_SUCCESS && param != NULL);
					dispatch_semaphore_signal(step);
				});
				xpc_release(desc);
				dispatch_semaphore_wait(step, DISPATCH_TIME_FOREVER);
				vmnet_interface_set_event_callback(ref, 1, own, ^(interface_event_t mask, xpc_object_t event) {
					(void)mask, (void)event;
				});
				uint8_t bytes[60];
				frame(bytes, sizeof bytes, 255, (uint8_t)w);
				for (int k = 0; k < 20; k++)
					CHECK(write_one(ref, bytes, sizeof bytes) == VMNET_SUCCESS);
				vmnet_stop_interface(ref, own, ^(vmnet_return_t status) {
					CHECK(status == VMNET_SUCCESS);
					dispatch_semaphore_signal(step);
				});
				dispatch_semaphore_wait(step, DISPATCH_TIME_FOREVER);
				dispatch_release(step);
				dispatch_release(own);
			}
			dispatch_semaphore_signal(end);
		});
	for (int w = 0; w < 4; w++)
		dispatch_semaphore_wait(end, DISPATCH_TIME_FOREVER);
	dispatch_release(end);
	eventually("live.threads", 0);
}
