// Port forwarding rules.
#ifndef LV_RULE_H
#define LV_RULE_H

#include "core.h"

// lv_rule_fill checks the parts of a rule and puts them together; ports are in
// host byte order, the address in network order, the family has Darwin's number.
bool lv_rule_fill(struct lv_rule *rule, uint8_t protocol, uint16_t external, uint8_t family, const void *address, uint16_t internal);

#endif
