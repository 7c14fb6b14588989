package main

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// An object is a JSON object whose keys are taken one after the other. What is
// left in the end is unknown. The first wrong value is kept; taking goes on.
type object struct {
	path string // of the object, as "dns.", or ""
	keys map[string]json.RawMessage
	fold bool // names in any case, as containerd writes them
	err  error
}

// openObject returns the object in raw. null and nothing are an empty one.
func openObject(path string, raw json.RawMessage) *object {
	o := &object{path: path + "."}
	if len(raw) == 0 {
		return o
	}
	if err := json.Unmarshal(raw, &o.keys); err != nil {
		o.err = badValue(path, raw, "an object")
	}
	return o
}

// take decodes the value of key into dst, if there is one. null is nothing.
func (o *object) take(key string, dst any, want string) bool {
	raw := o.raw(key)
	if raw == nil || string(raw) == "null" {
		return false
	}
	if err := json.Unmarshal(raw, dst); err != nil {
		o.fail(badValue(o.path+key, raw, "%s", want))
		return false
	}
	return true
}

// raw takes the value of key as it is; nil when there is none.
func (o *object) raw(key string) json.RawMessage {
	for name, raw := range o.keys {
		if name == key || o.fold && strings.EqualFold(name, key) {
			delete(o.keys, name)
			return raw
		}
	}
	return nil
}

// fail keeps err unless an earlier one is there.
func (o *object) fail(err error) {
	if o.err == nil && err != nil {
		o.err = err
	}
}

// drop takes keys that have no meaning here.
func (o *object) drop(has func(key string) bool) {
	maps.DeleteFunc(o.keys, func(key string, _ json.RawMessage) bool { return has(key) })
}

// end returns the first wrong value, or all keys that nobody took.
func (o *object) end() error {
	if o.err != nil || len(o.keys) == 0 {
		return o.err
	}
	var unknown []string
	for _, key := range slices.Sorted(maps.Keys(o.keys)) {
		unknown = append(unknown, o.path+key+" "+show(o.keys[key]))
	}
	return errorf(codeUnsupported, "unknown key %s", strings.Join(unknown, ", "))
}
