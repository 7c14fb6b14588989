// Which subnets are valid, free, and chosen when none is asked for.
#include <string.h>

#include "../include/vmnet/vmnet.h"
#include "net.h"

static bool private_range(uint32_t address) {
	return address >> 24 == 10 || address >> 20 == (172 << 4 | 1) || address >> 16 == (192 << 8 | 168);
}

static bool contiguous(uint32_t mask) {
	uint32_t host = ~mask;
	return (host & (host + 1)) == 0 && host >= 3 && host <= 0x00ffffff; // /30 to /8
}

static bool overlaps(const struct net *n, uint32_t base, uint32_t mask) {
	uint32_t common = n->spec.mask & mask;
	return n->spec.start != 0 && ((n->spec.start ^ base) & common) == 0;
}

static bool taken(const struct net *nets, uint32_t base, uint32_t mask) {
	for (const struct net *n = nets; n != NULL; n = n->next)
		if (overlaps(n, base, mask))
			return true;
	return false;
}

// choose takes the first free /24 from the place where the mode's begin.
static bool choose(struct lv_net_spec *spec, const struct net *nets) {
	uint32_t third = spec->mode == VMNET_HOST_MODE ? 128 : 64;
	if (spec->kind == LV_LOGICAL)
		third = spec->root ? 2 : 64;
	for (; third < 255; third++) {
		uint32_t base = 192u << 24 | 168u << 16 | third << 8;
		if (taken(nets, base, 0xffffff00u))
			continue;
		spec->start = base | 1;
		spec->end = base | 254;
		spec->mask = 0xffffff00u;
		return true;
	}
	return false;
}

static uint32_t settle_prefix(struct lv_net_spec *spec) {
	if (!spec->have_prefix) {
		spec->prefix[0] = 0xfd;
		lv_random(spec->prefix + 1, 7);
	}
	return spec->kind == LV_IDENTIFIED || spec->prefix[0] == 0xfd ? VMNET_SUCCESS : VMNET_FAILURE;
}

uint32_t lv_subnet_settle(struct lv_net_spec *spec, uint32_t *gateway, const struct net *nets) {
	*gateway = 0;
	if (spec->kind == LV_BRIDGED || (spec->kind == LV_IDENTIFIED && spec->start == 0))
		return VMNET_SUCCESS;
	bool given = spec->start != 0;
	if (!given && !choose(spec, nets))
		return VMNET_FAILURE;
	uint32_t base = spec->start & spec->mask, last = base | ~spec->mask;
	if (!contiguous(spec->mask) || !private_range(base) || !private_range(last))
		return VMNET_FAILURE;
	if (given && taken(nets, base, spec->mask))
		return VMNET_FAILURE;
	if (spec->kind != LV_CLASSIC) {
		spec->end = last - 1;
		*gateway = spec->kind == LV_LOGICAL ? base + 1 : spec->start;
		return settle_prefix(spec);
	}
	if (spec->start == base || spec->start >= spec->end || (spec->end & spec->mask) != base || spec->end >= last)
		return VMNET_FAILURE;
	*gateway = spec->start;
	return settle_prefix(spec);
}
