// xpc objects: reference counted, with a magic word that is poisoned at the end
// of their life, so that misuse ends the process at the place where it happens.
#include "xpc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"

#define MAGIC 0x58504330u

#define TYPE(n) const struct _xpc_type_s _xpc_type_##n = {#n}
TYPE(bool);
TYPE(int64);
TYPE(uint64);
TYPE(string);
TYPE(uuid);
TYPE(data);
TYPE(dictionary);
TYPE(array);

struct object {
	uint32_t magic;
	atomic_int refs;
	xpc_type_t type;
	union {
		bool b;
		int64_t i;
		uint64_t u;
		uint8_t uuid[16];
		struct {
			void *bytes; // NUL-terminated copy, also for strings
			size_t length;
		} data;
		struct {
			char **keys; // NULL for arrays
			struct object **values;
			size_t count;
		} list;
	};
};

static struct object *make(xpc_type_t type) {
	struct object *o = lv_alloc(sizeof *o);
	o->magic = MAGIC;
	o->type = type;
	atomic_store(&o->refs, 1);
	atomic_fetch_add(&lv_count.xpc, 1);
	return o;
}

void lv_xpc_check(const char *who, const void *object, xpc_type_t type) {
	const struct object *o = object;
	if (o == NULL)
		lv_die("%s: object is NULL", who);
	if (((uintptr_t)o & 7) != 0 || o->magic == LV_POISON)
		lv_die("%s: object %p: use after free, or never an object", who, object);
	if (o->magic != MAGIC)
		lv_die("%s: %p is not an xpc object", who, object);
	if (type != NULL && o->type != type)
		lv_die("%s: object %p is of type %s, want %s", who, object, o->type->name, type->name);
}

static struct object *checked(const char *who, const void *object, xpc_type_t type) {
	lv_xpc_check(who, object, type);
	return (struct object *)(uintptr_t)object;
}

xpc_object_t xpc_retain(xpc_object_t object) {
	struct object *o = checked("xpc_retain", object, NULL);
	if (atomic_fetch_add(&o->refs, 1) <= 0)
		lv_die("xpc_retain: object %p: already released", object);
	return object;
}

static void destroy(struct object *o) {
	if (o->type == XPC_TYPE_STRING || o->type == XPC_TYPE_DATA)
		lv_free(o->data.bytes, o->data.length + 1);
	if (o->type == XPC_TYPE_DICTIONARY || o->type == XPC_TYPE_ARRAY) {
		for (size_t i = 0; i < o->list.count; i++) {
			if (o->list.keys != NULL)
				free(o->list.keys[i]);
			xpc_release(o->list.values[i]);
		}
		free(o->list.keys);
		free(o->list.values);
	}
	lv_free(o, sizeof *o);
	atomic_fetch_sub(&lv_count.xpc, 1);
}

void xpc_release(xpc_object_t object) {
	struct object *o = checked("xpc_release", object, NULL);
	int before = atomic_fetch_sub(&o->refs, 1);
	if (before <= 0)
		lv_die("xpc_release: object %p: released too often", object);
	if (before == 1)
		destroy(o);
}

xpc_type_t xpc_get_type(xpc_object_t object) {
	return checked("xpc_get_type", object, NULL)->type;
}

xpc_object_t xpc_bool_create(bool value) {
	struct object *o = make(XPC_TYPE_BOOL);
	o->b = value;
	return o;
}

xpc_object_t xpc_int64_create(int64_t value) {
	struct object *o = make(XPC_TYPE_INT64);
	o->i = value;
	return o;
}

xpc_object_t xpc_uint64_create(uint64_t value) {
	struct object *o = make(XPC_TYPE_UINT64);
	o->u = value;
	return o;
}

xpc_object_t xpc_uuid_create(const uint8_t value[16]) {
	if (value == NULL)
		lv_die("xpc_uuid_create: value is NULL");
	struct object *o = make(XPC_TYPE_UUID);
	memcpy(o->uuid, value, 16);
	return o;
}

static xpc_object_t bytes_create(xpc_type_t type, const void *bytes, size_t length) {
	struct object *o = make(type);
	o->data.bytes = lv_alloc(length + 1);
	if (length > 0)
		memcpy(o->data.bytes, bytes, length);
	o->data.length = length;
	return o;
}

xpc_object_t xpc_string_create(const char *value) {
	if (value == NULL)
		lv_die("xpc_string_create: value is NULL");
	return bytes_create(XPC_TYPE_STRING, value, strlen(value));
}

xpc_object_t xpc_data_create(const void *bytes, size_t length) {
	if (bytes == NULL && length > 0)
		lv_die("xpc_data_create: bytes is NULL, length %zu", length);
	return bytes_create(XPC_TYPE_DATA, bytes, length);
}

// The getters of scalars answer 0 for an object of another type.
#define GETTER(function, result, kind, expression, otherwise)                                                                                        \
	result function(xpc_object_t object) {                                                                                                           \
		struct object *o = checked(#function, object, NULL);                                                                                         \
		return o->type == kind ? (expression) : (otherwise);                                                                                         \
	}
GETTER(xpc_bool_get_value, bool, XPC_TYPE_BOOL, o->b, false)
GETTER(xpc_int64_get_value, int64_t, XPC_TYPE_INT64, o->i, 0)
GETTER(xpc_uint64_get_value, uint64_t, XPC_TYPE_UINT64, o->u, 0)
GETTER(xpc_string_get_string_ptr, const char *, XPC_TYPE_STRING, o->data.bytes, NULL)
GETTER(xpc_string_get_length, size_t, XPC_TYPE_STRING, o->data.length, 0)
GETTER(xpc_uuid_get_bytes, const uint8_t *, XPC_TYPE_UUID, o->uuid, NULL)
GETTER(xpc_data_get_bytes_ptr, const void *, XPC_TYPE_DATA, o->data.bytes, NULL)
GETTER(xpc_data_get_length, size_t, XPC_TYPE_DATA, o->data.length, 0)

static void append(struct object *o, const char *key, struct object *value) {
	size_t n = o->list.count + 1;
	o->list.values = realloc(o->list.values, n * sizeof *o->list.values);
	if (key != NULL) {
		o->list.keys = realloc(o->list.keys, n * sizeof *o->list.keys);
		if (o->list.keys == NULL || (o->list.keys[n - 1] = strdup(key)) == NULL)
			lv_die("out of memory for a dictionary");
	}
	if (o->list.values == NULL)
		lv_die("out of memory for a collection");
	o->list.values[n - 1] = value;
	o->list.count = n;
}

static ptrdiff_t position(const struct object *o, const char *key) {
	for (size_t i = 0; i < o->list.count; i++)
		if (strcmp(o->list.keys[i], key) == 0)
			return (ptrdiff_t)i;
	return -1;
}

// put takes over one reference to value; NULL removes the key.
static void put(const char *who, xpc_object_t dictionary, const char *key, struct object *value) {
	struct object *o = checked(who, dictionary, XPC_TYPE_DICTIONARY);
	if (key == NULL)
		lv_die("%s: key is NULL", who);
	ptrdiff_t at = position(o, key);
	if (at < 0) {
		if (value != NULL)
			append(o, key, value);
		return;
	}
	struct object *old = o->list.values[at];
	if (value != NULL) {
		o->list.values[at] = value;
	} else {
		free(o->list.keys[at]);
		o->list.count--;
		o->list.keys[at] = o->list.keys[o->list.count];
		o->list.values[at] = o->list.values[o->list.count];
	}
	xpc_release(old);
}

xpc_object_t xpc_dictionary_create_empty(void) {
	return make(XPC_TYPE_DICTIONARY);
}

xpc_object_t xpc_dictionary_create(const char *const *keys, const xpc_object_t *values, size_t count) {
	if (count > 0 && (keys == NULL || values == NULL))
		lv_die("xpc_dictionary_create: count %zu with NULL keys or values", count);
	xpc_object_t o = make(XPC_TYPE_DICTIONARY);
	for (size_t i = 0; i < count; i++)
		xpc_dictionary_set_value(o, keys[i], values[i]);
	return o;
}

size_t xpc_dictionary_get_count(xpc_object_t dictionary) {
	return checked("xpc_dictionary_get_count", dictionary, XPC_TYPE_DICTIONARY)->list.count;
}

void xpc_dictionary_set_value(xpc_object_t dictionary, const char *key, xpc_object_t value) {
	put("xpc_dictionary_set_value", dictionary, key, value == NULL ? NULL : xpc_retain(value));
}

void xpc_dictionary_set_bool(xpc_object_t dictionary, const char *key, bool value) {
	put("xpc_dictionary_set_bool", dictionary, key, xpc_bool_create(value));
}

void xpc_dictionary_set_int64(xpc_object_t dictionary, const char *key, int64_t value) {
	put("xpc_dictionary_set_int64", dictionary, key, xpc_int64_create(value));
}

void xpc_dictionary_set_uint64(xpc_object_t dictionary, const char *key, uint64_t value) {
	put("xpc_dictionary_set_uint64", dictionary, key, xpc_uint64_create(value));
}

void xpc_dictionary_set_string(xpc_object_t dictionary, const char *key, const char *value) {
	put("xpc_dictionary_set_string", dictionary, key, xpc_string_create(value));
}

void xpc_dictionary_set_uuid(xpc_object_t dictionary, const char *key, const uint8_t value[16]) {
	put("xpc_dictionary_set_uuid", dictionary, key, xpc_uuid_create(value));
}

void xpc_dictionary_set_data(xpc_object_t dictionary, const char *key, const void *bytes, size_t length) {
	put("xpc_dictionary_set_data", dictionary, key, xpc_data_create(bytes, length));
}

static struct object *get(const char *who, xpc_object_t dictionary, const char *key) {
	struct object *o = checked(who, dictionary, XPC_TYPE_DICTIONARY);
	if (key == NULL)
		lv_die("%s: key is NULL", who);
	ptrdiff_t at = position(o, key);
	return at < 0 ? NULL : checked(who, o->list.values[at], NULL);
}

xpc_object_t xpc_dictionary_get_value(xpc_object_t dictionary, const char *key) {
	return get("xpc_dictionary_get_value", dictionary, key);
}

bool xpc_dictionary_get_bool(xpc_object_t dictionary, const char *key) {
	struct object *o = get("xpc_dictionary_get_bool", dictionary, key);
	return o != NULL && xpc_bool_get_value(o);
}

int64_t xpc_dictionary_get_int64(xpc_object_t dictionary, const char *key) {
	struct object *o = get("xpc_dictionary_get_int64", dictionary, key);
	return o == NULL ? 0 : xpc_int64_get_value(o);
}

uint64_t xpc_dictionary_get_uint64(xpc_object_t dictionary, const char *key) {
	struct object *o = get("xpc_dictionary_get_uint64", dictionary, key);
	return o == NULL ? 0 : xpc_uint64_get_value(o);
}

const char *xpc_dictionary_get_string(xpc_object_t dictionary, const char *key) {
	struct object *o = get("xpc_dictionary_get_string", dictionary, key);
	return o == NULL ? NULL : xpc_string_get_string_ptr(o);
}

const uint8_t *xpc_dictionary_get_uuid(xpc_object_t dictionary, const char *key) {
	struct object *o = get("xpc_dictionary_get_uuid", dictionary, key);
	return o == NULL ? NULL : xpc_uuid_get_bytes(o);
}

const void *xpc_dictionary_get_data(xpc_object_t dictionary, const char *key, size_t *length) {
	struct object *o = get("xpc_dictionary_get_data", dictionary, key);
	if (o == NULL || o->type != XPC_TYPE_DATA)
		return NULL;
	if (length != NULL)
		*length = o->data.length;
	return o->data.bytes;
}

bool xpc_dictionary_apply(xpc_object_t dictionary, bool (^applier)(const char *key, xpc_object_t value)) {
	struct object *o = checked("xpc_dictionary_apply", dictionary, XPC_TYPE_DICTIONARY);
	for (size_t i = 0; i < o->list.count; i++)
		if (!applier(o->list.keys[i], o->list.values[i]))
			return false;
	return true;
}

xpc_object_t xpc_array_create(const xpc_object_t *objects, size_t count) {
	if (objects == NULL && count > 0)
		lv_die("xpc_array_create: count %zu with NULL objects", count);
	struct object *o = make(XPC_TYPE_ARRAY);
	for (size_t i = 0; i < count; i++)
		append(o, NULL, xpc_retain(objects[i]));
	return o;
}

size_t xpc_array_get_count(xpc_object_t array) {
	return checked("xpc_array_get_count", array, XPC_TYPE_ARRAY)->list.count;
}

static struct object *element(const char *who, xpc_object_t array, size_t index) {
	struct object *o = checked(who, array, XPC_TYPE_ARRAY);
	if (index >= o->list.count)
		lv_die("%s: index %zu of an array of %zu", who, index, o->list.count);
	return checked(who, o->list.values[index], NULL);
}

xpc_object_t xpc_array_get_value(xpc_object_t array, size_t index) {
	return element("xpc_array_get_value", array, index);
}

const char *xpc_array_get_string(xpc_object_t array, size_t index) {
	return xpc_string_get_string_ptr(element("xpc_array_get_string", array, index));
}

void xpc_array_append_value(xpc_object_t array, xpc_object_t value) {
	struct object *o = checked("xpc_array_append_value", array, XPC_TYPE_ARRAY);
	append(o, NULL, xpc_retain(value));
}

void xpc_array_set_string(xpc_object_t array, size_t index, const char *value) {
	struct object *o = checked("xpc_array_set_string", array, XPC_TYPE_ARRAY);
	if (index == XPC_ARRAY_APPEND) {
		append(o, NULL, xpc_string_create(value));
		return;
	}
	struct object *old = element("xpc_array_set_string", array, index);
	o->list.values[index] = xpc_string_create(value);
	xpc_release(old);
}

bool xpc_array_apply(xpc_object_t array, bool (^applier)(size_t index, xpc_object_t value)) {
	struct object *o = checked("xpc_array_apply", array, XPC_TYPE_ARRAY);
	for (size_t i = 0; i < o->list.count; i++)
		if (!applier(i, o->list.values[i]))
			return false;
	return true;
}

static void describe(FILE *out, const struct object *o) {
	if (o->type == XPC_TYPE_BOOL)
		fprintf(out, "<bool: %s>", o->b ? "true" : "false");
	else if (o->type == XPC_TYPE_INT64)
		fprintf(out, "<int64: %lld>", (long long)o->i);
	else if (o->type == XPC_TYPE_UINT64)
		fprintf(out, "<uint64: %llu>", (unsigned long long)o->u);
	else if (o->type == XPC_TYPE_STRING)
		fprintf(out, "<string: \"%s\">", (const char *)o->data.bytes);
	else if (o->type == XPC_TYPE_DATA)
		fprintf(out, "<data: %zu bytes>", o->data.length);
	else if (o->type == XPC_TYPE_UUID) {
		fputs("<uuid: ", out);
		for (int i = 0; i < 16; i++)
			fprintf(out, "%s%02X", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", o->uuid[i]);
		fputs(">", out);
	} else {
		fprintf(out, "<%s: count %zu {", o->type->name, o->list.count);
		for (size_t i = 0; i < o->list.count; i++) {
			fprintf(out, "%s", i > 0 ? ", " : "");
			if (o->list.keys != NULL)
				fprintf(out, "\"%s\" => ", o->list.keys[i]);
			describe(out, o->list.values[i]);
		}
		fputs("}>", out);
	}
}

char *xpc_copy_description(xpc_object_t object) {
	struct object *o = checked("xpc_copy_description", object, NULL);
	char *text = NULL;
	size_t length = 0;
	FILE *out = open_memstream(&text, &length);
	if (out == NULL)
		lv_die("xpc_copy_description: no memory");
	describe(out, o);
	fclose(out);
	return text;
}
