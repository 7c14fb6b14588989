#include "iface.h"
static struct lv_client *local_client;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static void init(void) { local_client = lv_core_client(); }
void lv_call(const struct lv_request *request, struct lv_answer *answer) {
	pthread_once(&once, init);
	lv_core_call(local_client, request, answer);
}
bool lv_attach(uint64_t port, lv_receive receive, void *context) { return lv_core_attach(port, receive, context); }
void lv_detach(uint64_t port) { lv_core_attach(port, NULL, NULL); }
void lv_send(uint64_t port, const struct lv_frame *frames, size_t count) { lv_core_send(port, frames, count); }
