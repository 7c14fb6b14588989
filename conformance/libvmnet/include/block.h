// Block runtime as a client of vmnet.framework sees it (clang's Block ABI, libclosure).
//
// On macOS these symbols come from libsystem_blocks under the libSystem
// umbrella; here from Debian's BlocksRuntime, on which libvmnet depends, so that
// dlsym on libvmnet's handle finds them.
//
// Availability comments in all headers of this directory have one form, so that
// a test can read them: one declaration a line, ending in
//     /* macos VERSION [deprecated VERSION] [type XPCTYPE] [in WHERE] [extra] */
// "extra" marks what no source spells out but its family implies.
#ifndef LIBVMNET_BLOCK_H
#define LIBVMNET_BLOCK_H

#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(default)

extern void *_NSConcreteGlobalBlock[]; /* macos 10.10 */
extern void *_NSConcreteStackBlock[]; /* macos 10.10 */
void *_Block_copy(const void *block); /* macos 10.10 */
void _Block_release(const void *block); /* macos 10.10 */

#pragma GCC visibility pop

enum {
	LIBVMNET_BLOCK_REFCOUNT_MASK = 0xfffe, /* macos 10.10 */
	LIBVMNET_BLOCK_NEEDS_FREE = 1 << 24, /* macos 10.10 */
	LIBVMNET_BLOCK_HAS_COPY_DISPOSE = 1 << 25, /* macos 10.10 */
	LIBVMNET_BLOCK_HAS_CTOR = 1 << 26, /* macos 10.10 */
	LIBVMNET_BLOCK_IS_GLOBAL = 1 << 28, /* macos 10.10 */
	LIBVMNET_BLOCK_USE_STRET = 1 << 29, /* macos 10.10 */
	LIBVMNET_BLOCK_HAS_SIGNATURE = 1 << 30, /* macos 10.10 */
};

// Descriptor: reserved and size always; copy and dispose only with
// HAS_COPY_DISPOSE; a signature follows only with HAS_SIGNATURE.
struct libvmnet_block_descriptor {
	uintptr_t reserved; // must be 0
	uintptr_t size;     // of the literal with its captures
	void (*copy)(void *dst, const void *src);
	void (*dispose)(const void *block);
};

struct libvmnet_block_layout {
	void *isa; // address of a class symbol, not what it holds
	int32_t flags;
	int32_t reserved;
	void (*invoke)(void *block, ...);
	const struct libvmnet_block_descriptor *descriptor;
};

_Static_assert(sizeof(struct libvmnet_block_layout) == 32, "block literal without captures");
_Static_assert(offsetof(struct libvmnet_block_layout, flags) == 8, "flags");
_Static_assert(offsetof(struct libvmnet_block_layout, invoke) == 16, "invoke");
_Static_assert(offsetof(struct libvmnet_block_layout, descriptor) == 24, "descriptor");
_Static_assert(offsetof(struct libvmnet_block_descriptor, size) == 8, "size");
_Static_assert(offsetof(struct libvmnet_block_descriptor, copy) == 16, "copy");
_Static_assert(offsetof(struct libvmnet_block_descriptor, dispose) == 24, "dispose");

#endif
