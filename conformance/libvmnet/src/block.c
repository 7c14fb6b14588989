#include "block.h"

#include "../include/block.h"
#include "base.h"

extern void *_NSConcreteMallocBlock[];

#define KNOWN_FLAGS                                                                                                                                  \
	(LIBVMNET_BLOCK_REFCOUNT_MASK | LIBVMNET_BLOCK_NEEDS_FREE | LIBVMNET_BLOCK_HAS_COPY_DISPOSE | LIBVMNET_BLOCK_HAS_CTOR |                          \
	 LIBVMNET_BLOCK_IS_GLOBAL | LIBVMNET_BLOCK_USE_STRET | LIBVMNET_BLOCK_HAS_SIGNATURE | 1u << 31 | 1u << 23 | 1u << 21)

static void check(const char *who, const struct libvmnet_block_layout *b) {
	if (b == NULL)
		lv_die("%s: block is NULL", who);
	if (((uintptr_t)b & 7) != 0)
		lv_die("%s: block %p: not aligned to 8", who, (const void *)b);
	uint32_t flags = (uint32_t)b->flags;
	bool global = (flags & LIBVMNET_BLOCK_IS_GLOBAL) != 0, heap = (flags & LIBVMNET_BLOCK_NEEDS_FREE) != 0;
	const void *want = global ? (void *)_NSConcreteGlobalBlock : heap ? (void *)_NSConcreteMallocBlock : (void *)_NSConcreteStackBlock;
	if (b->isa != want)
		lv_die("%s: block %p: isa %p does not fit flags 0x%x, want %p", who, (const void *)b, b->isa, flags, want);
	if ((flags & ~KNOWN_FLAGS) != 0)
		lv_die("%s: block %p: unknown flags 0x%x", who, (const void *)b, flags);
	if (!heap && (flags & LIBVMNET_BLOCK_REFCOUNT_MASK) != 0)
		lv_die("%s: block %p: not on the heap, but flags 0x%x count references", who, (const void *)b, flags);
	if (b->invoke == NULL)
		lv_die("%s: block %p: invoke is NULL", who, (const void *)b);
	const struct libvmnet_block_descriptor *d = b->descriptor;
	if (d == NULL)
		lv_die("%s: block %p: descriptor is NULL", who, (const void *)b);
	if (d->reserved != 0)
		lv_die("%s: block %p: descriptor.reserved is 0x%lx, want 0", who, (const void *)b, (unsigned long)d->reserved);
	if (d->size < sizeof *b || d->size > 1 << 16)
		lv_die("%s: block %p: descriptor.size is %lu, want 32 or more", who, (const void *)b, (unsigned long)d->size);
}

void *lv_block_copy(const char *who, const void *block) {
	check(who, block);
	void *copy = _Block_copy(block);
	if (copy == NULL)
		lv_die("%s: no memory for a block", who);
	atomic_fetch_add(&lv_count.blocks, 1);
	atomic_fetch_add(&lv_count.block_copies, 1);
	return copy;
}

void lv_block_release(void *block) {
	_Block_release(block);
	atomic_fetch_sub(&lv_count.blocks, 1);
}
