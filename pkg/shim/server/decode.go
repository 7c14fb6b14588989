package server

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strconv"
	"strings"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// decode reads one JSON object into the struct v points to. It is stricter than
// encoding/json: unknown and repeated keys are refused, keys match with their
// case, nothing may follow, and every error is a *shim.Error that names the key,
// as "network.subnet", and the value.
func decode(data []byte, v any) error {
	if !json.Valid(data) {
		return syntaxError(data)
	}
	return decodeValue(bytes.TrimSpace(data), reflect.ValueOf(v).Elem(), "")
}

// syntaxError says where JSON goes wrong.
func syntaxError(data []byte) error {
	if len(bytes.TrimSpace(data)) == 0 {
		return shim.Errorf(shim.CodeInvalid, "body: is empty, want a JSON object")
	}
	var raw json.RawMessage
	err := json.Unmarshal(data, &raw)
	var se *json.SyntaxError
	if errors.As(err, &se) {
		return shim.Errorf(shim.CodeInvalid, "body: byte %d: %v", se.Offset, err)
	}
	return shim.Errorf(shim.CodeInvalid, "body: %v", err)
}

var textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()

func decodeValue(raw json.RawMessage, v reflect.Value, path string) error {
	isText := v.Addr().Type().Implements(textUnmarshaler)
	switch {
	case isText:
		return decodeLeaf(raw, v, path)
	case v.Kind() == reflect.Struct:
		return decodeStruct(raw, v, path)
	case v.Kind() == reflect.Slice:
		return decodeSlice(raw, v, path)
	}
	return decodeLeaf(raw, v, path)
}

func decodeLeaf(raw json.RawMessage, v reflect.Value, path string) error {
	err := json.Unmarshal(raw, v.Addr().Interface())
	var te *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &te):
		return shim.Invalidf(path, shorten(raw), "want %s", jsonKind(v))
	}
	return shim.Invalidf(path, shorten(raw), "%v", err)
}

func decodeSlice(raw json.RawMessage, v reflect.Value, path string) error {
	var items []json.RawMessage
	if err := json.Unmarshal(raw, &items); err != nil {
		return shim.Invalidf(path, shorten(raw), "want a list")
	}
	if items == nil {
		return nil
	}
	v.Set(reflect.MakeSlice(v.Type(), len(items), len(items)))
	for i, item := range items {
		if err := decodeValue(item, v.Index(i), path+"["+strconv.Itoa(i)+"]"); err != nil {
			return err
		}
	}
	return nil
}

func decodeStruct(raw json.RawMessage, v reflect.Value, path string) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		if path == "" {
			return shim.Errorf(shim.CodeInvalid, "body: %s: want a JSON object", shorten(raw))
		}
		return shim.Invalidf(path, shorten(raw), "want an object")
	}
	seen := map[string]bool{}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return shim.Errorf(shim.CodeInvalid, "body: %v", err)
		}
		key, _ := tok.(string) // a key is a string in valid JSON
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil && !errors.Is(err, io.EOF) {
			return shim.Errorf(shim.CodeInvalid, "body: %v", err)
		}
		at := strings.TrimPrefix(path+"."+key, ".")
		field, ok := fieldByKey(v, key)
		switch {
		case !ok:
			return shim.Invalidf(at, shorten(value), "unknown key")
		case seen[key]:
			return shim.Invalidf(at, shorten(value), "key is there twice")
		}
		seen[key] = true
		if err := decodeValue(value, field, at); err != nil {
			return err
		}
	}
	return nil
}

// fieldByKey finds the field of struct v whose JSON name is key.
func fieldByKey(v reflect.Value, key string) (reflect.Value, bool) {
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		if name != "" && name == key {
			return v.Field(i), true
		}
	}
	return reflect.Value{}, false
}

func jsonKind(v reflect.Value) string {
	if v.Kind() == reflect.Pointer {
		v = reflect.Zero(v.Type().Elem())
	}
	switch v.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Uint64:
		return "a whole number"
	case reflect.Uint16:
		return "a whole number up to 65535"
	}
	return "a string"
}

// shorten returns a value as text for a message, without the quotes of a string.
func shorten(raw json.RawMessage) string {
	s := string(raw)
	var str string
	if json.Unmarshal(raw, &str) == nil && str != "" {
		s = str
	}
	if len(s) > 100 {
		return strings.ToValidUTF8(s[:100], "") + "…"
	}
	return s
}
