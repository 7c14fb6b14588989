// The list of interfaces that bridged mode accepts.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../include/libvmnet_test.h"
#include "../include/vmnet/vmnet.h"
#include "base.h"
#include "core.h"


static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static char set[512]; // guarded by mu; "" = the environment's, or the default

void libvmnet_test_bridges(const char *names) {
	pthread_mutex_lock(&mu);
	snprintf(set, sizeof set, "%s", names == NULL ? "" : names);
	pthread_mutex_unlock(&mu);
}

size_t lv_bridges(char names[][LV_NAME], size_t n) {
	char list[512];
	const char *fallback = getenv("LIBVMNET_BRIDGES");
	pthread_mutex_lock(&mu);
	snprintf(list, sizeof list, "%s", set[0] != '\0' ? set : fallback != NULL ? fallback : "en0,en1");
	pthread_mutex_unlock(&mu);
	size_t count = 0;
	char *rest = list, *name;
	while (count < n && (name = strsep(&rest, ",")) != NULL)
		if (*name != '\0')
			snprintf(names[count++], LV_NAME, "%.15s", name);
	return count;
}

#if LV_MACOS >= 101500
xpc_object_t vmnet_copy_shared_interface_list(void) {
	char names[32][LV_NAME];
	size_t n = lv_bridges(names, 32);
	xpc_object_t list = xpc_array_create(NULL, 0);
	for (size_t i = 0; i < n; i++)
		xpc_array_set_string(list, XPC_ARRAY_APPEND, names[i]);
	return list;
}
#endif

int64_t libvmnet_test_version(void) {
	return LV_MACOS;
}
