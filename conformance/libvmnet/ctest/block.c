// Block literals built by hand, as a client without a block compiler does it.
#include "test.h"

struct literal {
	struct libvmnet_block_layout layout;
	uintptr_t handle;
};

static int copies, disposes;
static uintptr_t seen;

static void on_copy(void *to, const void *from) {
	CHECK(((struct literal *)to)->handle == ((const struct literal *)from)->handle);
	copies++;
}

static void on_dispose(const void *block) {
	(void)block;
	disposes++;
}

static dispatch_semaphore_t called;

static void on_stop(struct literal *self, vmnet_return_t status) {
	EQUAL(status, VMNET_SUCCESS);
	seen = self->handle;
	dispatch_semaphore_signal(called);
}

static const struct libvmnet_block_descriptor descriptor = {0, sizeof(struct literal), on_copy, on_dispose};

static struct literal make(int32_t flags) {
	return (struct literal){{_NSConcreteStackBlock, flags, 0, (void (*)(void *, ...))on_stop, &descriptor}, 42};
}

static void give(const struct literal *literal) {
	struct started s = start(VMNET_SHARED_MODE);
	called = dispatch_semaphore_create(0);
	vmnet_stop_interface(s.ref, queue, (vmnet_interface_completion_handler_t)(const void *)literal);
	dispatch_semaphore_wait(called, DISPATCH_TIME_FOREVER);
	dispatch_release(called);
	done(&s);
}

TEST(block_by_hand) {
	struct literal literal = make(LIBVMNET_BLOCK_HAS_COPY_DISPOSE);
	give(&literal);
	EQUAL(seen, 42);
	eventually("live.blocks", 0);
	EQUAL(copies, 1);
	EQUAL(disposes, 1);
	literal = make(0);
	give(&literal);
	EQUAL(copies, 1);
}

TEST(block_copied_at_once) {
	struct literal *literal = malloc(sizeof *literal);
	*literal = make(LIBVMNET_BLOCK_HAS_COPY_DISPOSE);
	struct started s = start(VMNET_SHARED_MODE);
	called = dispatch_semaphore_create(0);
	control("hang.stop", 1);
	vmnet_stop_interface(s.ref, queue, (vmnet_interface_completion_handler_t)(const void *)literal);
	memset(literal, 0xee, sizeof *literal); // the client's copy may go
	free(literal);
	control("hang.stop", 0);
	dispatch_semaphore_wait(called, DISPATCH_TIME_FOREVER);
	dispatch_release(called);
	EQUAL(seen, 42);
	done(&s);
}

TEST(block_global) {
	static struct literal literal;
	literal = make(LIBVMNET_BLOCK_IS_GLOBAL);
	literal.layout.isa = _NSConcreteGlobalBlock;
	give(&literal);
	EQUAL(seen, 42);
}

ABORT(block_null, "block is NULL") { give(NULL); }
ABORT(block_isa_dereferenced, "isa") {
	struct literal literal = make(0);
	literal.layout.isa = _NSConcreteStackBlock[0];
	give(&literal);
}
ABORT(block_invoke, "invoke is NULL") {
	struct literal literal = make(0);
	literal.layout.invoke = NULL;
	give(&literal);
}
ABORT(block_descriptor, "descriptor is NULL") {
	struct literal literal = make(0);
	literal.layout.descriptor = NULL;
	give(&literal);
}
ABORT(block_size, "descriptor.size is 24") {
	static const struct libvmnet_block_descriptor small = {0, 24, NULL, NULL};
	struct literal literal = make(0);
	literal.layout.descriptor = &small;
	give(&literal);
}
ABORT(block_reserved, "descriptor.reserved is 0x1") {
	static const struct libvmnet_block_descriptor odd = {1, 40, NULL, NULL};
	struct literal literal = make(0);
	literal.layout.descriptor = &odd;
	give(&literal);
}
ABORT(block_flags, "unknown flags") {
	struct literal literal = make(1 << 20);
	give(&literal);
}
