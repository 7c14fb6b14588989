// The interface description, read into a request for the core.
#ifndef LV_DESC_H
#define LV_DESC_H

#include "iface.h"

// lv_desc_common reads what every way to start knows: interface ID, MAC,
// offloads, isolation. VMNET_SUCCESS or what is wrong.
vmnet_return_t lv_desc_common(xpc_object_t desc, struct lv_request *request, struct iface_options *options);
// lv_desc_types checks the XPC type of every key that this release knows.
vmnet_return_t lv_desc_types(xpc_object_t desc);
// lv_desc_network refuses keys that belong to the network and not to an
// interface on it.
vmnet_return_t lv_desc_network(xpc_object_t desc);
bool lv_desc_has(xpc_object_t desc, const char *key);

#endif
