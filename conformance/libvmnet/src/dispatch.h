// What other files of libvmnet need of the queues beyond libdispatch's public
// interface. References taken here are not the client's: its own releases are
// counted apart, so that one too many is noticed at once.
#ifndef LV_DISPATCH_H
#define LV_DISPATCH_H

#include "../include/dispatch.h"

void lv_queue_check(const char *who, dispatch_queue_t queue);
void lv_queue_retain(dispatch_queue_t queue);
void lv_queue_release(dispatch_queue_t queue);
void lv_queue_async(dispatch_queue_t queue, void *context, dispatch_function_t work);

#endif
