// The part of libxpc that a client of vmnet.framework needs (man page
// xpc(3)). Form of the availability comments: see block.h.
//
// Rules as in the real library: setters copy; getters of a dictionary or an
// array return borrowed values; a getter of another type than the value's gives
// 0, false or NULL; a NULL object, an object of the wrong kind, an index out of
// range and a release too many end the process.
#ifndef LIBVMNET_XPC_H
#define LIBVMNET_XPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef void *xpc_object_t;
typedef const struct _xpc_type_s *xpc_type_t;

#pragma GCC visibility push(default)

struct _xpc_type_s {
	const char *name;
};
// A type is the address of one of these symbols.
extern const struct _xpc_type_s _xpc_type_bool; /* macos 10.10 */
extern const struct _xpc_type_s _xpc_type_int64; /* macos 10.10 */
extern const struct _xpc_type_s _xpc_type_uint64; /* macos 10.10 */
extern const struct _xpc_type_s _xpc_type_string; /* macos 10.10 */
extern const struct _xpc_type_s _xpc_type_uuid; /* macos 10.10 */
extern const struct _xpc_type_s _xpc_type_data; /* macos 10.10 */
extern const struct _xpc_type_s _xpc_type_dictionary; /* macos 10.10 */
extern const struct _xpc_type_s _xpc_type_array; /* macos 10.10 */
#define XPC_TYPE_BOOL (&_xpc_type_bool)
#define XPC_TYPE_INT64 (&_xpc_type_int64)
#define XPC_TYPE_UINT64 (&_xpc_type_uint64)
#define XPC_TYPE_STRING (&_xpc_type_string)
#define XPC_TYPE_UUID (&_xpc_type_uuid)
#define XPC_TYPE_DATA (&_xpc_type_data)
#define XPC_TYPE_DICTIONARY (&_xpc_type_dictionary)
#define XPC_TYPE_ARRAY (&_xpc_type_array)
#define XPC_ARRAY_APPEND ((size_t)-1)

xpc_object_t xpc_retain(xpc_object_t object); /* macos 10.10 */
void xpc_release(xpc_object_t object); /* macos 10.10 */
xpc_type_t xpc_get_type(xpc_object_t object); /* macos 10.10 */
char *xpc_copy_description(xpc_object_t object); /* macos 10.10 */

xpc_object_t xpc_dictionary_create(const char *const *keys, const xpc_object_t *values, size_t count); /* macos 10.10 */
xpc_object_t xpc_dictionary_create_empty(void); /* macos 11.0 */
size_t xpc_dictionary_get_count(xpc_object_t dictionary); /* macos 10.10 extra */
void xpc_dictionary_set_value(xpc_object_t dictionary, const char *key, xpc_object_t value); /* macos 10.10 extra */
void xpc_dictionary_set_bool(xpc_object_t dictionary, const char *key, bool value); /* macos 10.10 */
void xpc_dictionary_set_int64(xpc_object_t dictionary, const char *key, int64_t value); /* macos 10.10 extra */
void xpc_dictionary_set_uint64(xpc_object_t dictionary, const char *key, uint64_t value); /* macos 10.10 */
void xpc_dictionary_set_string(xpc_object_t dictionary, const char *key, const char *value); /* macos 10.10 */
void xpc_dictionary_set_uuid(xpc_object_t dictionary, const char *key, const uint8_t value[16]); /* macos 10.10 */
void xpc_dictionary_set_data(xpc_object_t dictionary, const char *key, const void *bytes, size_t length); /* macos 10.10 extra */
xpc_object_t xpc_dictionary_get_value(xpc_object_t dictionary, const char *key); /* macos 10.10 */
bool xpc_dictionary_get_bool(xpc_object_t dictionary, const char *key); /* macos 10.10 */
int64_t xpc_dictionary_get_int64(xpc_object_t dictionary, const char *key); /* macos 10.10 extra */
uint64_t xpc_dictionary_get_uint64(xpc_object_t dictionary, const char *key); /* macos 10.10 */
const char *xpc_dictionary_get_string(xpc_object_t dictionary, const char *key); /* macos 10.10 */
const uint8_t *xpc_dictionary_get_uuid(xpc_object_t dictionary, const char *key); /* macos 10.10 */
const void *xpc_dictionary_get_data(xpc_object_t dictionary, const char *key, size_t *length); /* macos 10.10 extra */

xpc_object_t xpc_array_create(const xpc_object_t *objects, size_t count); /* macos 10.10 extra */
size_t xpc_array_get_count(xpc_object_t array); /* macos 10.10 */
xpc_object_t xpc_array_get_value(xpc_object_t array, size_t index); /* macos 10.10 */
const char *xpc_array_get_string(xpc_object_t array, size_t index); /* macos 10.10 */
void xpc_array_append_value(xpc_object_t array, xpc_object_t value); /* macos 10.10 extra */
void xpc_array_set_string(xpc_object_t array, size_t index, const char *value); /* macos 10.10 extra */

xpc_object_t xpc_bool_create(bool value); /* macos 10.10 extra */
bool xpc_bool_get_value(xpc_object_t object); /* macos 10.10 extra */
xpc_object_t xpc_int64_create(int64_t value); /* macos 10.10 extra */
int64_t xpc_int64_get_value(xpc_object_t object); /* macos 10.10 extra */
xpc_object_t xpc_uint64_create(uint64_t value); /* macos 10.10 extra */
uint64_t xpc_uint64_get_value(xpc_object_t object); /* macos 10.10 extra */
xpc_object_t xpc_string_create(const char *value); /* macos 10.10 extra */
const char *xpc_string_get_string_ptr(xpc_object_t object); /* macos 10.10 extra */
size_t xpc_string_get_length(xpc_object_t object); /* macos 10.10 extra */
xpc_object_t xpc_uuid_create(const uint8_t value[16]); /* macos 10.10 extra */
const uint8_t *xpc_uuid_get_bytes(xpc_object_t object); /* macos 10.10 extra */
xpc_object_t xpc_data_create(const void *bytes, size_t length); /* macos 10.10 extra */
const void *xpc_data_get_bytes_ptr(xpc_object_t object); /* macos 10.10 extra */
size_t xpc_data_get_length(xpc_object_t object); /* macos 10.10 extra */
#ifdef __BLOCKS__
bool xpc_dictionary_apply(xpc_object_t dictionary, bool (^applier)(const char *key, xpc_object_t value)); /* macos 10.10 */
bool xpc_array_apply(xpc_object_t array, bool (^applier)(size_t index, xpc_object_t value)); /* macos 10.10 extra */
#endif

#pragma GCC visibility pop

#endif
