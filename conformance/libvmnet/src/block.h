// Blocks that clients hand over: checked, copied, counted.
#ifndef LV_BLOCK_H
#define LV_BLOCK_H

// lv_block_copy checks a client's block as strictly as the ABI allows (isa,
// flags, descriptor, invoke) and copies it; who names the function it was given
// to. NULL ends the process.
void *lv_block_copy(const char *who, const void *block);
void lv_block_release(void *block);

#endif
