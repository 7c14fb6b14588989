package main

import (
	"encoding"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/vmnet-cni/vmnet/internal/plainjson"
)

// An object is a JSON object whose keys are taken one after the other. What is
// left in the end is unknown. Wrong values are kept; taking goes on.
type object struct {
	path string // of the object, as "dns.", or ""
	keys map[string]json.RawMessage
	fold bool // names in any case, as containerd writes them
	errs problems
}

// problems are the errors of one input, at least one. A verb answers with the
// first; "vmnet validate" shows all.
type problems []error

// Error implements error.
func (p problems) Error() string { return p[0].Error() }

// Unwrap returns all of them.
func (p problems) Unwrap() []error { return p }

// err returns the problems, or nil.
func (p problems) err() error {
	if len(p) == 0 {
		return nil
	}
	return p
}

// add adds err, which may be problems or nil.
func (p *problems) add(err error) {
	var many problems
	switch {
	case err == nil:
	case errors.As(err, &many):
		*p = append(*p, many...)
	default:
		*p = append(*p, err)
	}
}

// openObject returns the object in raw. null and nothing are an empty one.
func openObject(path string, raw json.RawMessage) *object {
	o := &object{path: path + "."}
	if len(raw) == 0 {
		return o
	}
	if o.keys = members(raw); o.keys != nil {
		return o
	}
	if err := json.Unmarshal(raw, &o.keys); err != nil {
		o.fail(badValue(path, raw, "an object"))
	}
	return o
}

// take decodes the value of key into dst, if there is one. null is nothing.
func (o *object) take(key string, dst any, want string) bool {
	raw := o.raw(key)
	if raw == nil || string(raw) == "null" {
		return false
	}
	if takePlain(raw, dst) {
		return true
	}
	if err := json.Unmarshal(raw, dst); err != nil {
		o.fail(badValue(o.path+key, raw, "%s", want))
		return false
	}
	return true
}

// members returns the members of the object raw, or nil when it is none, or not
// plain: then encoding/json says what it is. The last one of several with one key
// counts.
func members(raw []byte) map[string]json.RawMessage {
	v, ok := plainjson.Parse(raw)
	keys := map[string]json.RawMessage{}
	ok = ok && v.Members(func(key string, v plainjson.Value) bool {
		keys[key] = json.RawMessage(v)
		return true
	})
	if !ok {
		return nil
	}
	return keys
}

// takePlain decodes raw into dst, if both are of usual kinds and fit.
func takePlain(raw json.RawMessage, dst any) bool {
	v, ok := plainjson.Parse(raw)
	if !ok {
		return false
	}
	switch dst := dst.(type) {
	case *string:
		return v.Text(dst)
	case *bool:
		return v.Bool(dst)
	case *int:
		return v.Int(dst)
	case *[]string:
		return v.Texts(dst)
	case *map[string]bool:
		return v.Members(func(key string, v plainjson.Value) bool {
			var b bool
			ok := v.Bool(&b)
			(*dst)[key] = b
			return ok
		})
	case encoding.TextUnmarshaler:
		return v.Into(dst)
	}
	return false
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

// fail keeps err, if it is one.
func (o *object) fail(err error) { o.errs.add(err) }

// drop takes keys that have no meaning here.
func (o *object) drop(has func(key string) bool) {
	maps.DeleteFunc(o.keys, func(key string, _ json.RawMessage) bool { return has(key) })
}

// end returns the wrong values, and the keys that nobody took.
func (o *object) end() error {
	if len(o.keys) == 0 {
		return o.errs.err()
	}
	var unknown []string
	for _, key := range slices.Sorted(maps.Keys(o.keys)) {
		unknown = append(unknown, o.path+key+" "+show(o.keys[key]))
	}
	o.keys = nil
	o.fail(errorf(codeUnsupported, "unknown key %s", strings.Join(unknown, ", ")))
	return o.errs.err()
}
