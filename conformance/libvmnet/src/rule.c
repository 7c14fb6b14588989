#include "rule.h"

#include <stdlib.h>
#include <string.h>

#include "block.h"
#include "dispatch.h"
#include "iface.h"
#include "xpc.h"

bool lv_rule_fill(struct lv_rule *rule, uint8_t protocol, uint16_t external, uint8_t family, const void *address, uint16_t internal) {
	memset(rule, 0, sizeof *rule);
	if ((protocol != IPPROTO_TCP && protocol != IPPROTO_UDP) || (family != LIBVMNET_AF_INET && family != LIBVMNET_AF_INET6))
		return false;
	if (external == 0)
		return false;
	rule->protocol = protocol;
	rule->family = family;
	rule->external = external;
	rule->internal = internal;
	if (address != NULL)
		memcpy(rule->address, address, family == LIBVMNET_AF_INET ? 4 : 16);
	return true;
}

#if LV_MACOS >= 101500

// A request in flight: its handler gets a status, or a list.
struct pending {
	vmnet_return_t status;
	xpc_object_t list;
	bool wants_list;
	void *handler; // may be NULL for a status
};

static void finish(void *context) {
	struct pending *p = context;
	atomic_fetch_add(&lv_count.handlers, 1);
	if (p->wants_list)
		((vmnet_interface_get_ip_port_forwarding_rules_handler_t)p->handler)(p->list);
	else if (p->handler != NULL)
		((vmnet_interface_completion_handler_t)p->handler)(p->status);
	if (p->list != NULL)
		xpc_release(p->list);
	if (p->handler != NULL)
		lv_block_release(p->handler);
	free(p);
}

// Which queue runs these handlers is not documented: here one of the pool's
// threads does.
static void schedule(void *context) {
	lv_queue_async(dispatch_get_global_queue(0, 0), context, finish);
}

// Private names in a rule's dictionary: clients read it with the functions below.
static xpc_object_t list_of(const struct lv_answer *answer) {
	if (answer->status != VMNET_SUCCESS || answer->rules == 0)
		return NULL;
	xpc_object_t list = xpc_array_create(NULL, 0);
	for (uint32_t i = 0; i < answer->rules; i++) {
		xpc_object_t rule = xpc_dictionary_create_empty();
		xpc_dictionary_set_data(rule, "rule", &answer->rule[i], sizeof answer->rule[i]);
		xpc_array_append_value(list, rule);
		xpc_release(rule);
	}
	return list;
}

static vmnet_return_t submit(struct vmnet_interface *ifc, enum lv_request_op op, const struct lv_rule *rule, void *handler) {
	struct lv_request *request = lv_alloc(sizeof *request);
	struct lv_answer *answer = lv_alloc(sizeof *answer);
	*request = (struct lv_request){.magic = LV_MAGIC, .op = op, .handle = ifc->port, .rule = *rule};
	uint32_t fault = lv_fault_status(LV_RULE);
	if (fault == 0)
		lv_call(request, answer);
	else
		answer->status = fault;
	struct pending *p = lv_alloc(sizeof *p);
	p->status = answer->status;
	p->wants_list = op == LV_OP_RULE_LIST;
	p->list = p->wants_list ? list_of(answer) : NULL;
	p->handler = handler;
	free(request);
	free(answer);
	lv_fault_handler(LV_RULE, schedule, p);
	return VMNET_SUCCESS;
}

static vmnet_return_t rule_call(const char *who, interface_ref interface, enum lv_request_op op, bool valid, const struct lv_rule *rule,
                                const void *handler) {
	struct vmnet_interface *ifc = lv_iface_get(who, interface);
	lv_fault_block(LV_RULE);
	vmnet_return_t status = VMNET_INVALID_ARGUMENT;
	if (atomic_load(&ifc->state) != IFACE_RUNNING)
		status = VMNET_SETUP_INCOMPLETE;
	else if (valid)
		status = submit(ifc, op, rule, handler == NULL ? NULL : lv_block_copy(who, handler));
	lv_iface_put(ifc);
	return status;
}

static vmnet_return_t add(const char *who, interface_ref interface, uint8_t protocol, uint16_t external, uint8_t family, const void *address,
                          uint16_t internal, const void *handler) {
	struct lv_rule rule;
	bool valid = lv_rule_fill(&rule, protocol, external, family, address, internal) && address != NULL && internal != 0;
	return rule_call(who, interface, LV_OP_RULE_ADD, valid, &rule, handler);
}

static vmnet_return_t list(const char *who, interface_ref interface, uint8_t family, const void *handler) {
	struct lv_rule rule = {.family = family};
	if (handler == NULL)
		lv_die("%s: handler is NULL", who);
	return rule_call(who, interface, LV_OP_RULE_LIST, family == LIBVMNET_AF_INET || family == LIBVMNET_AF_INET6, &rule, handler);
}

static vmnet_return_t details(const char *who, xpc_object_t object, uint8_t family, uint8_t *protocol, uint16_t *external, void *address,
                              uint16_t *internal) {
	lv_xpc_check(who, object, XPC_TYPE_DICTIONARY);
	if (protocol == NULL || external == NULL || address == NULL || internal == NULL)
		lv_die("%s: an argument is NULL", who);
	size_t length = 0;
	const struct lv_rule *rule = xpc_dictionary_get_data(object, "rule", &length);
	if (rule == NULL || length != sizeof *rule || rule->family != family)
		return VMNET_INVALID_ARGUMENT;
	*protocol = rule->protocol;
	*external = rule->external;
	*internal = rule->internal;
	memcpy(address, rule->address, family == LIBVMNET_AF_INET ? 4 : 16);
	return VMNET_SUCCESS;
}

vmnet_return_t vmnet_interface_add_port_forwarding_rule(interface_ref interface, uint8_t protocol, uint16_t external_port,
                                                        struct in_addr internal_address, uint16_t internal_port,
                                                        vmnet_interface_completion_handler_t handler) {
	return add(__func__, interface, protocol, external_port, LIBVMNET_AF_INET, &internal_address, internal_port, handler);
}

vmnet_return_t vmnet_interface_remove_port_forwarding_rule(interface_ref interface, uint8_t protocol, uint16_t external_port,
                                                           vmnet_interface_completion_handler_t handler) {
	struct lv_rule rule;
	bool valid = lv_rule_fill(&rule, protocol, external_port, LIBVMNET_AF_INET, NULL, 0);
	return rule_call(__func__, interface, LV_OP_RULE_REMOVE, valid, &rule, handler);
}

vmnet_return_t vmnet_interface_get_port_forwarding_rules(interface_ref interface, vmnet_interface_get_port_forwarding_rules_handler_t handler) {
	return list(__func__, interface, LIBVMNET_AF_INET, handler);
}

vmnet_return_t vmnet_port_forwarding_rule_get_details(xpc_object_t rule, uint8_t *protocol, uint16_t *external_port,
                                                      struct in_addr *internal_address, uint16_t *internal_port) {
	return details(__func__, rule, LIBVMNET_AF_INET, protocol, external_port, internal_address, internal_port);
}

#if LV_MACOS >= 110000

vmnet_return_t vmnet_interface_add_ip_port_forwarding_rule(interface_ref interface, uint8_t protocol, uint16_t external_port,
                                                           uint8_t address_family, const void *internal_address, uint16_t internal_port,
                                                           vmnet_interface_completion_handler_t handler) {
	return add(__func__, interface, protocol, external_port, address_family, internal_address, internal_port, handler);
}

vmnet_return_t vmnet_interface_remove_ip_port_forwarding_rule(interface_ref interface, uint8_t protocol, uint16_t external_port,
                                                              uint8_t address_family, vmnet_interface_completion_handler_t handler) {
	struct lv_rule rule;
	bool valid = lv_rule_fill(&rule, protocol, external_port, address_family, NULL, 0);
	return rule_call(__func__, interface, LV_OP_RULE_REMOVE, valid, &rule, handler);
}

vmnet_return_t vmnet_interface_get_ip_port_forwarding_rules(interface_ref interface, uint8_t address_family,
                                                            vmnet_interface_get_ip_port_forwarding_rules_handler_t handler) {
	return list(__func__, interface, address_family, handler);
}

vmnet_return_t vmnet_ip_port_forwarding_rule_get_details(xpc_object_t rule, uint8_t *protocol, uint16_t *external_port, uint8_t address_family,
                                                         void *internal_address, uint16_t *internal_port) {
	return details(__func__, rule, address_family, protocol, external_port, internal_address, internal_port);
}

#endif
#endif
