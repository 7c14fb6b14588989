// Requests: which networks and ports there are. One lock guards the lists, a
// read-write lock the way from a port's number to the port while frames move.
// Order: core_mu, ports_mu, net->mu.
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "../include/vmnet/vmnet.h"
#include "net.h"

struct lv_client {
	struct holding {
		struct holding *next;
		struct net *net;
	} *holdings; // logical networks that this client holds
};

static pthread_mutex_t core_mu = PTHREAD_MUTEX_INITIALIZER; // guards nets and all that is not net->mu's
static pthread_rwlock_t ports_mu = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;
static struct port ports[MAX_PORTS]; // guarded by ports_mu; changed with core_mu too
static struct net *nets;
static uint64_t next_id = 1;
static unsigned live_ports;

struct lv_client *lv_core_client(void) {
	atomic_fetch_add(&lv_count.clients, 1);
	return lv_alloc(sizeof(struct lv_client));
}

static struct port *find_port(uint64_t id) {
	struct port *p = &ports[id % MAX_PORTS];
	return id != 0 && p->id == id ? p : NULL;
}

static struct net *find_net(uint64_t id) {
	for (struct net *n = nets; n != NULL; n = n->next)
		if (n->id == id)
			return n;
	return NULL;
}

// --- networks

static bool same_network(const struct net *n, const struct lv_net_spec *spec) {
	if (n->spec.kind != spec->kind || n->spec.mode != spec->mode)
		return false;
	switch (spec->kind) {
	case LV_BRIDGED:
		return strcmp(n->spec.uplink, spec->uplink) == 0;
	case LV_IDENTIFIED:
		return memcmp(n->spec.identifier, spec->identifier, 16) == 0;
	case LV_CLASSIC:
		if (spec->start == 0) // whoever asks for nothing joins the default
			return n->is_default;
		return n->spec.start == spec->start && n->spec.end == spec->end && n->spec.mask == spec->mask;
	}
	return false;
}

static struct net *make_net(const struct lv_net_spec *spec, uint32_t *status) {
	struct net *n = lv_alloc(sizeof *n);
	n->spec = *spec;
	if (n->spec.mtu == 0)
		n->spec.mtu = 1500;
	*status = lv_subnet_settle(&n->spec, &n->gateway, nets);
	if (*status != VMNET_SUCCESS) {
		free(n);
		return NULL;
	}
	n->id = next_id++;
	pthread_mutex_init(&n->mu, NULL);
	uint64_t seed = lv_hash(&n->id, sizeof n->id, n->gateway);
	memcpy(n->gateway_mac, &seed, 6);
	n->gateway_mac[0] = (uint8_t)((n->gateway_mac[0] & 0xfc) | 2);
	n->uplink.net = n;
	n->tap = lv_tap_open(n);
	n->next = nets;
	nets = n;
	atomic_fetch_add(&lv_count.networks, 1);
	return n;
}

static bool add_rule(struct net *n, const struct lv_rule *rule, uint64_t port) {
	if (n->rules == LV_RULES || !lv_forward_start(n, rule, &n->forward[n->rules]))
		return false;
	n->rule[n->rules] = *rule;
	n->rule[n->rules++].port = port;
	return true;
}

static void remove_rule(struct net *n, uint32_t i) {
	lv_forward_stop(n->forward[i]);
	n->rules--;
	n->rule[i] = n->rule[n->rules];
	n->forward[i] = n->forward[n->rules];
}

static void drop_net(struct net *n) {
	if (--n->refs > 0)
		return;
	while (n->rules > 0)
		remove_rule(n, 0);
	for (struct net **p = &nets; *p != NULL; p = &(*p)->next)
		if (*p == n) {
			*p = n->next;
			break;
		}
	if (n->tap != NULL)
		lv_tap_close(n->tap);
	pthread_mutex_destroy(&n->mu);
	free(n);
	atomic_fetch_sub(&lv_count.networks, 1);
}

static void describe(const struct net *n, struct lv_answer *a) {
	a->mode = n->spec.mode;
	a->start = n->spec.start;
	a->end = n->spec.end;
	a->mask = n->spec.mask;
	a->mtu = n->spec.mtu;
	memcpy(a->prefix, n->spec.prefix, 16);
	memcpy(a->token, n->token, 16);
}

// --- ports

static void choose_mac(struct port *p, const struct lv_port_spec *spec, bool logical) {
	uint64_t seed;
	memcpy(p->iface_id, spec->id, 16);
	if (!spec->have_id || logical)
		lv_random(p->iface_id, 16);
	seed = lv_hash(p->iface_id, 16, 1);
	memcpy(p->mac, &seed, 6);
	p->mac[0] = (uint8_t)((p->mac[0] & 0xfc) | 2); // a station's own, locally administered
}

static bool id_in_use(const uint8_t *id) {
	for (unsigned i = 0; i < MAX_PORTS; i++)
		if (ports[i].id != 0 && memcmp(ports[i].iface_id, id, 16) == 0)
			return true;
	return false;
}

static struct port *free_port(void) {
	for (unsigned i = 1; i < MAX_PORTS; i++)
		if (ports[i].id == 0)
			return &ports[i];
	return NULL;
}

static uint32_t add_port(struct lv_client *client, struct net *n, const struct lv_port_spec *spec, struct lv_answer *a) {
	struct port *p = free_port();
	if (p == NULL || live_ports >= (unsigned long long)atomic_load(&lv_knob.limit))
		return VMNET_FAILURE;
	bool logical = n->spec.kind == LV_LOGICAL;
	if (spec->have_id && !logical && id_in_use(spec->id))
		return VMNET_FAILURE; // the MAC that belongs to it can't be granted twice
	static uint64_t generation = 1;
	pthread_rwlock_wrlock(&ports_mu);
	memset(p, 0, sizeof *p);
	p->net = n;
	p->client = client;
	p->isolated = spec->isolated && n->spec.kind != LV_BRIDGED; // means nothing there
	choose_mac(p, spec, logical);
	p->next = n->ports;
	n->ports = p;
	p->id = generation++ * MAX_PORTS + (uint64_t)(p - ports);
	pthread_rwlock_unlock(&ports_mu);
	live_ports++;
	n->refs++;
	a->handle = p->id;
	memcpy(a->mac, p->mac, 6);
	memcpy(a->id, p->iface_id, 16);
	describe(n, a);
	return VMNET_SUCCESS;
}

static void remove_rules(struct net *n, uint64_t port) {
	for (uint32_t i = n->rules; i-- > 0;)
		if (n->rule[i].port == port)
			remove_rule(n, i);
}

static void remove_port(struct port *p) {
	struct net *n = p->net;
	pthread_rwlock_wrlock(&ports_mu);
	for (struct port **at = &n->ports; *at != NULL; at = &(*at)->next)
		if (*at == p) {
			*at = p->next;
			break;
		}
	pthread_mutex_lock(&n->mu);
	lv_hub_forget_locked(n, p);
	pthread_mutex_unlock(&n->mu);
	remove_rules(n, p->id);
	p->id = 0;
	pthread_rwlock_unlock(&ports_mu);
	live_ports--;
	drop_net(n);
}

// --- requests

static uint32_t start_classic(struct lv_client *client, const struct lv_request *r, struct lv_answer *a) {
	struct net *n = nets;
	while (n != NULL && !same_network(n, &r->net))
		n = n->next;
	if (n != NULL)
		return add_port(client, n, &r->port, a);
	uint32_t status;
	n = make_net(&r->net, &status);
	if (n == NULL)
		return status;
	n->is_default = r->net.kind == LV_CLASSIC && r->net.start == 0;
	n->refs = 1;
	status = add_port(client, n, &r->port, a);
	drop_net(n);
	return status;
}

static void hold(struct lv_client *client, struct net *n) {
	struct holding *h = lv_alloc(sizeof *h);
	h->net = n;
	h->next = client->holdings;
	client->holdings = h;
	n->refs++;
}

static bool unhold(struct lv_client *client, struct net *n) {
	for (struct holding **at = &client->holdings; *at != NULL; at = &(*at)->next) {
		struct holding *h = *at;
		if (h->net != n)
			continue;
		*at = h->next;
		free(h);
		drop_net(n);
		return true;
	}
	return false;
}

static bool rule_taken(const struct lv_rule *rule) {
	for (const struct net *n = nets; n != NULL; n = n->next)
		for (uint32_t i = 0; i < n->rules; i++)
			if (n->rule[i].protocol == rule->protocol && n->rule[i].external == rule->external && n->rule[i].family == rule->family)
				return true;
	return false;
}

static bool inside(const struct net *n, uint32_t address) {
	return ((address ^ n->spec.start) & n->spec.mask) == 0 && address > n->gateway && address < (n->spec.start | ~n->spec.mask);
}

static uint32_t network_create(struct lv_client *client, const struct lv_request *r, struct lv_answer *a) {
	for (uint32_t i = 0; i < r->net.rules; i++)
		if (rule_taken(&r->net.rule[i]))
			return VMNET_FAILURE;
	uint32_t status;
	struct net *n = make_net(&r->net, &status);
	if (n == NULL)
		return status;
	for (uint32_t i = 0; i < n->spec.reservations && status == VMNET_SUCCESS; i++)
		if (!inside(n, n->spec.reservation[i].address))
			status = VMNET_FAILURE;
	n->refs = 1;
	for (uint32_t i = 0; i < n->spec.rules && status == VMNET_SUCCESS; i++)
		if (!add_rule(n, &n->spec.rule[i], 0))
			status = VMNET_FAILURE;
	if (status == VMNET_SUCCESS) {
		lv_random(n->token, sizeof n->token);
		n->owner = client;
		hold(client, n);
		a->handle = n->id;
		describe(n, a);
	}
	drop_net(n);
	return status;
}

static uint32_t network_open(struct lv_client *client, const struct lv_request *r, struct lv_answer *a) {
	for (struct net *n = nets; n != NULL; n = n->next) {
		if (n->spec.kind != LV_LOGICAL || n->orphan || memcmp(n->token, r->token, 16) != 0)
			continue;
		hold(client, n);
		a->handle = n->id;
		describe(n, a);
		return VMNET_SUCCESS;
	}
	return VMNET_FAILURE;
}

static bool holds(const struct lv_client *client, const struct net *n) {
	for (const struct holding *h = client->holdings; h != NULL; h = h->next)
		if (h->net == n)
			return true;
	return false;
}

static uint32_t start_logical(struct lv_client *client, const struct lv_request *r, struct lv_answer *a) {
	struct net *n = find_net(r->handle);
	if (n == NULL || !holds(client, n))
		return VMNET_FAILURE;
	// Asking for the network's own address as the subnet is accepted until here.
	if ((n->spec.start & ~n->spec.mask) == 0)
		return VMNET_FAILURE;
	return add_port(client, n, &r->port, a);
}

static uint32_t rule_request(struct lv_client *client, const struct lv_request *r, struct lv_answer *a) {
	struct port *p = find_port(r->handle);
	if (p == NULL || p->client != client)
		return VMNET_FAILURE;
	struct net *n = p->net;
	if (r->op == LV_OP_RULE_LIST) {
		for (uint32_t i = 0; i < n->rules; i++)
			if (n->rule[i].family == r->rule.family)
				a->rule[a->rules++] = n->rule[i];
		return VMNET_SUCCESS;
	}
	if (n->spec.mode != VMNET_SHARED_MODE)
		return VMNET_FAILURE;
	if (r->op == LV_OP_RULE_ADD) {
		return !rule_taken(&r->rule) && add_rule(n, &r->rule, p->id) ? VMNET_SUCCESS : VMNET_FAILURE;
	}
	for (uint32_t i = 0; i < n->rules; i++) {
		const struct lv_rule *rule = &n->rule[i];
		if (rule->protocol != r->rule.protocol || rule->external != r->rule.external || rule->family != r->rule.family)
			continue;
		remove_rule(n, i);
		return VMNET_SUCCESS;
	}
	return VMNET_FAILURE;
}

static uint32_t handle(struct lv_client *client, const struct lv_request *r, struct lv_answer *a) {
	struct port *p;
	struct net *n;
	switch (r->op) {
	case LV_OP_START:
		return start_classic(client, r, a);
	case LV_OP_START_LOGICAL:
		return start_logical(client, r, a);
	case LV_OP_STOP:
		p = find_port(r->handle);
		if (p == NULL || p->client != client)
			return VMNET_FAILURE;
		remove_port(p);
		return VMNET_SUCCESS;
	case LV_OP_NETWORK_CREATE:
		return network_create(client, r, a);
	case LV_OP_NETWORK_OPEN:
		return network_open(client, r, a);
	case LV_OP_NETWORK_RELEASE:
		n = find_net(r->handle);
		return n != NULL && unhold(client, n) ? VMNET_SUCCESS : VMNET_FAILURE;
	case LV_OP_RULE_ADD:
	case LV_OP_RULE_REMOVE:
	case LV_OP_RULE_LIST:
		return rule_request(client, r, a);
	}
	return VMNET_INVALID_ARGUMENT;
}

void lv_core_call(struct lv_client *client, const struct lv_request *request, struct lv_answer *answer) {
	memset(answer, 0, sizeof *answer);
	answer->magic = LV_MAGIC;
	pthread_mutex_lock(&core_mu);
	answer->status = handle(client, request, answer);
	pthread_mutex_unlock(&core_mu);
}

void lv_core_client_gone(struct lv_client *client) {
	pthread_mutex_lock(&core_mu);
	for (unsigned i = 0; i < MAX_PORTS; i++)
		if (ports[i].id != 0 && ports[i].client == client)
			remove_port(&ports[i]);
	for (struct net *n = nets; n != NULL; n = n->next)
		if (n->owner == client) {
			n->owner = NULL;
			n->orphan = true; // its users keep the subnet; nobody new may join
		}
	while (client->holdings != NULL)
		unhold(client, client->holdings->net);
	pthread_mutex_unlock(&core_mu);
	lv_free(client, sizeof *client);
	atomic_fetch_sub(&lv_count.clients, 1);
}

bool lv_core_attach(uint64_t port, lv_receive receive, void *context) {
	pthread_rwlock_wrlock(&ports_mu);
	struct port *p = find_port(port);
	if (p != NULL) {
		p->receive = receive;
		p->context = context;
	}
	pthread_rwlock_unlock(&ports_mu);
	return p != NULL;
}

void lv_core_send(uint64_t port, const struct lv_frame *frames, size_t count) {
	pthread_rwlock_rdlock(&ports_mu);
	struct port *p = find_port(port);
	if (p != NULL) {
		pthread_mutex_lock(&p->net->mu);
		for (size_t i = 0; i < count; i++)
			lv_hub_input_locked(p->net, p, &frames[i]);
		pthread_mutex_unlock(&p->net->mu);
	}
	pthread_rwlock_unlock(&ports_mu);
}

void lv_net_tap_input(struct net *net, const struct lv_frame *frame) {
	pthread_rwlock_rdlock(&ports_mu);
	pthread_mutex_lock(&net->mu);
	lv_hub_input_locked(net, &net->uplink, frame);
	pthread_mutex_unlock(&net->mu);
	pthread_rwlock_unlock(&ports_mu);
}
