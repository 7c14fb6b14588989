#include "test.h"

TEST(xpc_scalars) {
	xpc_object_t d = xpc_dictionary_create_empty();
	static const uint8_t id[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
	xpc_dictionary_set_bool(d, "b", true);
	xpc_dictionary_set_int64(d, "i", -5);
	xpc_dictionary_set_uint64(d, "u", UINT64_MAX);
	xpc_dictionary_set_string(d, "s", "text");
	xpc_dictionary_set_uuid(d, "id", id);
	xpc_dictionary_set_data(d, "d", "\0x", 2);
	EQUAL(xpc_dictionary_get_count(d), 6);
	CHECK(xpc_dictionary_get_bool(d, "b"));
	EQUAL(xpc_dictionary_get_int64(d, "i"), -5);
	CHECK(xpc_dictionary_get_uint64(d, "u") == UINT64_MAX);
	TEXT(xpc_dictionary_get_string(d, "s"), "text");
	CHECK(memcmp(xpc_dictionary_get_uuid(d, "id"), id, 16) == 0);
	size_t n = 0;
	CHECK(memcmp(xpc_dictionary_get_data(d, "d", &n), "\0x", 2) == 0 && n == 2);
	// Another type or no value: the type's nothing.
	CHECK(!xpc_dictionary_get_bool(d, "u") && xpc_dictionary_get_uint64(d, "b") == 0 && xpc_dictionary_get_int64(d, "s") == 0);
	CHECK(xpc_dictionary_get_string(d, "u") == NULL && xpc_dictionary_get_uuid(d, "s") == NULL && xpc_dictionary_get_data(d, "s", &n) == NULL);
	CHECK(xpc_dictionary_get_value(d, "none") == NULL && xpc_dictionary_get_string(d, "none") == NULL && xpc_dictionary_get_uint64(d, "none") == 0);
	static const struct {
		const char *key;
		xpc_type_t type;
	} types[] = {{"b", XPC_TYPE_BOOL}, {"i", XPC_TYPE_INT64}, {"u", XPC_TYPE_UINT64}, {"s", XPC_TYPE_STRING}, {"id", XPC_TYPE_UUID}, {"d", XPC_TYPE_DATA}};
	for (size_t i = 0; i < sizeof types / sizeof *types; i++)
		CHECK(xpc_get_type(xpc_dictionary_get_value(d, types[i].key)) == types[i].type);
	CHECK(xpc_get_type(d) == XPC_TYPE_DICTIONARY);
	xpc_release(d);
}

TEST(xpc_objects) {
	xpc_object_t b = xpc_bool_create(true), i = xpc_int64_create(-1), u = xpc_uint64_create(7), s = xpc_string_create("abc");
	xpc_object_t id = xpc_uuid_create((const uint8_t *)"0123456789abcdef"), data = xpc_data_create("xy", 2);
	CHECK(xpc_bool_get_value(b) && xpc_int64_get_value(i) == -1 && xpc_uint64_get_value(u) == 7);
	TEXT(xpc_string_get_string_ptr(s), "abc");
	EQUAL(xpc_string_get_length(s), 3);
	CHECK(memcmp(xpc_uuid_get_bytes(id), "0123456789abcdef", 16) == 0);
	CHECK(xpc_data_get_length(data) == 2 && memcmp(xpc_data_get_bytes_ptr(data), "xy", 2) == 0);
	CHECK(!xpc_bool_get_value(u) && xpc_uint64_get_value(b) == 0 && xpc_int64_get_value(u) == 0 && xpc_string_get_string_ptr(u) == NULL);
	CHECK(xpc_uuid_get_bytes(u) == NULL && xpc_data_get_bytes_ptr(u) == NULL && xpc_data_get_length(u) == 0 && xpc_string_get_length(u) == 0);
	const char *keys[] = {"u", "s"};
	xpc_object_t values[] = {u, s};
	xpc_object_t d = xpc_dictionary_create(keys, values, 2);
	EQUAL(xpc_dictionary_get_uint64(d, "u"), 7);
	xpc_object_t all[] = {b, i, u, s, id, data};
	for (int k = 0; k < 6; k++)
		xpc_release(all[k]);
	TEXT(xpc_dictionary_get_string(d, "s"), "abc"); // the dictionary holds its own
	xpc_object_t kept = xpc_retain(xpc_dictionary_get_value(d, "s"));
	xpc_release(d);
	TEXT(xpc_string_get_string_ptr(kept), "abc");
	xpc_release(kept);
}

TEST(xpc_dictionary_changes) {
	xpc_object_t d = xpc_dictionary_create(NULL, NULL, 0), u = xpc_uint64_create(3);
	xpc_dictionary_set_value(d, "a", u);
	xpc_release(u);
	xpc_dictionary_set_string(d, "a", "now a string");
	EQUAL(xpc_dictionary_get_count(d), 1);
	xpc_dictionary_set_bool(d, "b", false);
	xpc_dictionary_set_value(d, "a", NULL);
	EQUAL(xpc_dictionary_get_count(d), 1);
	CHECK(xpc_dictionary_get_value(d, "a") == NULL);
	__block int seen = 0;
	CHECK(xpc_dictionary_apply(d, ^bool(const char *key, xpc_object_t value) {
		TEXT(key, "b");
		CHECK(xpc_get_type(value) == XPC_TYPE_BOOL);
		seen++;
		return true;
	}));
	EQUAL(seen, 1);
	char *text = xpc_copy_description(d);
	CHECK(strstr(text, "\"b\"") != NULL && strstr(text, "false") != NULL);
	free(text);
	xpc_release(d);
}

TEST(xpc_array) {
	xpc_object_t a = xpc_array_create(NULL, 0), u = xpc_uint64_create(1);
	xpc_array_set_string(a, XPC_ARRAY_APPEND, "en0");
	xpc_array_append_value(a, u);
	xpc_release(u);
	EQUAL(xpc_array_get_count(a), 2);
	TEXT(xpc_array_get_string(a, 0), "en0");
	CHECK(xpc_array_get_string(a, 1) == NULL && xpc_uint64_get_value(xpc_array_get_value(a, 1)) == 1);
	xpc_array_set_string(a, 1, "en1");
	TEXT(xpc_array_get_string(a, 1), "en1");
	__block size_t stopped = 9;
	CHECK(!xpc_array_apply(a, ^bool(size_t index, xpc_object_t value) {
		CHECK(value != NULL);
		stopped = index;
		return false;
	}));
	EQUAL(stopped, 0);
	xpc_object_t both[] = {xpc_array_get_value(a, 0), xpc_array_get_value(a, 1)}, copy = xpc_array_create(both, 2);
	char *text = xpc_copy_description(copy);
	CHECK(strstr(text, "en0") != NULL && strstr(text, "en1") != NULL);
	free(text);
	xpc_release(a);
	TEXT(xpc_array_get_string(copy, 1), "en1");
	xpc_release(copy);
}

ABORT(xpc_release_null, "xpc_release: object is NULL") { xpc_release(NULL); }
ABORT(xpc_retain_null, "xpc_retain: object is NULL") { xpc_retain(NULL); }
ABORT(xpc_get_type_null, "object is NULL") { xpc_get_type(NULL); }
ABORT(xpc_get_null, "object is NULL") { xpc_dictionary_get_uint64(NULL, "x"); }
ABORT(xpc_over_release, "use after free") {
	xpc_object_t d = xpc_dictionary_create_empty();
	xpc_release(d);
	xpc_release(d);
}
ABORT(xpc_use_after_free, "use after free") {
	xpc_object_t d = xpc_dictionary_create_empty();
	xpc_release(d);
	xpc_dictionary_set_bool(d, "b", true);
}
ABORT(xpc_borrowed_after_free, "use after free") {
	xpc_object_t d = xpc_dictionary_create_empty();
	xpc_dictionary_set_string(d, "s", "x");
	xpc_object_t s = xpc_dictionary_get_value(d, "s");
	xpc_release(d);
	xpc_string_get_string_ptr(s);
}
ABORT(xpc_not_a_dictionary, "is of type string, want dictionary") { xpc_dictionary_get_uint64(xpc_string_create("x"), "x"); }
ABORT(xpc_not_an_array, "is of type dictionary, want array") { xpc_array_get_count(xpc_dictionary_create_empty()); }
ABORT(xpc_not_an_object, "is not an xpc object") {
	static uint64_t words[16];
	xpc_retain(words);
}
ABORT(xpc_null_key, "key is NULL") { xpc_dictionary_set_bool(xpc_dictionary_create_empty(), NULL, true); }
ABORT(xpc_null_string, "value is NULL") { xpc_dictionary_set_string(xpc_dictionary_create_empty(), "s", NULL); }
ABORT(xpc_null_uuid, "value is NULL") { xpc_dictionary_set_uuid(xpc_dictionary_create_empty(), "s", NULL); }
ABORT(xpc_index, "index 1 of an array of 0") { xpc_array_get_string(xpc_array_create(NULL, 0), 1); }
