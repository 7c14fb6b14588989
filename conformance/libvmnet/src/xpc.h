// What other files of libvmnet need of libxpc beyond its public interface.
#ifndef LV_XPC_H
#define LV_XPC_H

#include "../include/xpc.h"

// lv_xpc_check ends the process unless object is a living object of type;
// type NULL = any.
void lv_xpc_check(const char *who, const void *object, xpc_type_t type);

#endif
