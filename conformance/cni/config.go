package cni

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
)

// An object is a JSON object. Values are never shared between objects.
type object = map[string]any

// A mod changes a configuration for one check.
type mod func(object)

// with sets a key.
func with(key string, value any) mod {
	return func(o object) { o[key] = clone(value) }
}

// without removes a key.
func without(key string) mod {
	return func(o object) { delete(o, key) }
}

// version sets cniVersion.
func version(v string) mod { return with("cniVersion", v) }

// patched applies a JSON merge patch, RFC 7386.
func patched(patch string) mod {
	return func(o object) {
		var p object
		if json.Unmarshal([]byte(patch), &p) == nil { // checked by withDefaults
			merge(o, p)
		}
	}
}

func merge(o, patch object) {
	for k, v := range patch {
		sub, isObject := v.(object)
		switch {
		case v == nil:
			delete(o, k)
		case isObject:
			into, ok := o[k].(object)
			if !ok {
				into = object{}
				o[k] = into
			}
			merge(into, sub)
		default:
			o[k] = v
		}
	}
}

// clone copies a value by way of JSON, so that Go's types become JSON's too.
func clone(v any) any {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("encode %T: %v", v, err)) // a check's own literal
	}
	var out any
	if err := json.Unmarshal(raw, &out); err != nil {
		panic(fmt.Sprintf("decode %s: %v", raw, err))
	}
	return out
}

// encode returns o as the plugin gets it.
func encode(o object) []byte {
	raw, err := json.Marshal(o)
	if err != nil {
		panic(fmt.Sprintf("encode configuration: %v", err)) // came from JSON
	}
	return raw
}

// pickConfig returns the plugin's own object of a configuration, with name and
// cniVersion of the list around it, for network number n.
func pickConfig(raw []byte, plugin string, n int) (object, error) {
	raw = bytes.ReplaceAll(raw, []byte("@N@"), []byte(strconv.Itoa(n)))
	var top object
	if err := json.Unmarshal(raw, &top); err != nil {
		return nil, fmt.Errorf("configuration: want a JSON object: %w", err)
	}
	conf := top
	if list, ok := top["plugins"].([]any); ok {
		if conf = pick(list, plugin); conf == nil {
			return nil, errors.New("configuration: plugins: want at least one object")
		}
		conf["name"] = top["name"]
		conf["cniVersion"] = top["cniVersion"]
	}
	if _, ok := conf["cniVersion"].(string); !ok {
		conf["cniVersion"] = SpecVersion
	}
	if _, ok := conf["type"].(string); !ok {
		return nil, errors.New(`configuration: want a key "type", the plugin's name`)
	}
	name, ok := conf["name"].(string)
	if !ok || name == "" {
		return nil, errors.New(`configuration: want a key "name", the network's`)
	}
	if n > 0 {
		conf["name"] = name + "-" + strconv.Itoa(n)
	}
	return conf, nil
}

func pick(list []any, plugin string) object {
	var first object
	for _, e := range list {
		o, ok := e.(object)
		switch {
		case !ok:
		case o["type"] == plugin:
			return o
		case first == nil:
			first = o
		}
	}
	return first
}

// sameJSON reports whether two documents say the same.
func sameJSON(a, b []byte) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

// at returns the value below the keys, or nil.
func at(o object, keys ...string) any {
	var v any = o
	for _, k := range keys {
		m, ok := v.(object)
		if !ok {
			return nil
		}
		v = m[k]
	}
	return v
}
