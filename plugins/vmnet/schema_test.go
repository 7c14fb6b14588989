package main

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// A node is a JSON schema, as far as schema.json uses the language (draft
// 2020-12). check fails the test on a word that it does not know.
type node map[string]any

func loadSchema(t *testing.T) node {
	t.Helper()
	var n node
	if err := json.Unmarshal([]byte(schema), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func sub(v any) node { m, _ := v.(map[string]any); return m }

// accepts reports whether the schema accepts v.
func (n node) accepts(t *testing.T, v any) bool {
	for _, word := range slices.Sorted(maps.Keys(n)) {
		if !n.word(t, word, n[word], v) {
			return false
		}
	}
	return true
}

func (n node) word(t *testing.T, word string, arg, v any) bool {
	s, isString := v.(string)
	f, isNumber := v.(float64)
	list, isList := v.([]any)
	obj, isObject := v.(map[string]any)
	limit, _ := arg.(float64)
	switch word {
	case "$schema", "$id", "title", "description", "default", "then", "else":
		return true
	case "type":
		types, ok := arg.([]any)
		if !ok {
			types = []any{arg}
		}
		return slices.ContainsFunc(types, func(x any) bool { return isType(x.(string), v) })
	case "enum":
		return slices.ContainsFunc(arg.([]any), func(x any) bool { return reflect.DeepEqual(x, v) })
	case "const":
		return reflect.DeepEqual(arg, v)
	case "pattern":
		return !isString || regexp.MustCompile(arg.(string)).MatchString(s)
	case "minLength":
		return !isString || utf8.RuneCountInString(s) >= int(limit)
	case "maxLength":
		return !isString || utf8.RuneCountInString(s) <= int(limit)
	case "minimum":
		return !isNumber || f >= limit
	case "maximum":
		return !isNumber || f <= limit
	case "maxItems":
		return !isList || len(list) <= int(limit)
	case "items":
		return !slices.ContainsFunc(list, func(x any) bool { return !sub(arg).accepts(t, x) })
	case "anyOf":
		return slices.ContainsFunc(arg.([]any), func(x any) bool { return sub(x).accepts(t, v) })
	case "allOf":
		return !slices.ContainsFunc(arg.([]any), func(x any) bool { return !sub(x).accepts(t, v) })
	case "not":
		return !sub(arg).accepts(t, v)
	case "if":
		next := sub(n["else"])
		if sub(arg).accepts(t, v) {
			next = sub(n["then"])
		}
		return next == nil || next.accepts(t, v)
	case "required":
		return !isObject || !slices.ContainsFunc(arg.([]any), func(x any) bool { _, ok := obj[x.(string)]; return !ok })
	case "properties", "patternProperties", "additionalProperties":
		return !isObject || n.properties(t, word, obj)
	}
	t.Fatalf("schema.json: word %q is not known to this test", word)
	return false
}

func (n node) properties(t *testing.T, word string, obj map[string]any) bool {
	named := sub(n["properties"])
	pattern := func(key string) any {
		for p, s := range sub(n["patternProperties"]) {
			if regexp.MustCompile(p).MatchString(key) {
				return s
			}
		}
		return nil
	}
	for key, v := range obj {
		var s any
		switch p, ok := named[key]; {
		case word == "properties" && ok:
			s = p
		case word == "patternProperties":
			s = pattern(key)
		case word == "additionalProperties" && !ok && pattern(key) == nil:
			if n[word] == false {
				return false
			}
			s = n[word]
		}
		if !sub(s).accepts(t, v) {
			return false
		}
	}
	return true
}

func isType(name string, v any) bool {
	switch v := v.(type) {
	case nil:
		return name == "null"
	case bool:
		return name == "boolean"
	case string:
		return name == "string"
	case float64:
		return name == "number" || name == "integer" && v == float64(int64(v))
	case []any:
		return name == "array"
	}
	return name == "object"
}

// beyond are the refusals of the parser that the schema cannot express, or that
// concern what only runtimes write. The schema must accept what they refuse.
var beyond = []string{
	"the subnet's own address", "a subnet of unicast addresses", "the network gives no addresses", "an address of subnet", "hostLoopback uses", "a duration of at most",
	"domain names, as", "a domain name", "addresses, as", "at most 103 bytes", "without the built-in allocator", "and without ipam", "or another ipv4 than none", "or another ipv6 than none", "ipv4 is none too", "runtimeConfig.", "args.", "unknown key runtimeConfig",
}

// The schema and the parser agree on each key with each of many values, alone
// and in pairs with others.
func TestSchemaEqualsParser(t *testing.T) {
	s := loadSchema(t)
	values := []string{
		`null`, `true`, `false`, `0`, `1`, `1500`, `1500.5`, `1279`, `65521`, `-1`, `""`, `"x"`, `"none"`, `"managed"`, `"slaac"`, `"shared"`, `"host"`, `"bridged"`,
		`"auto"`, `"vmnet"`, `"netstack"`, `"tap"`, `"dgram"`, `"stream"`, `"info"`, `"warn"`, `"loud"`, `"10.0.0.0/24"`, `"10.0.0.1/24"`, `"10.0.0.0/30"`, `"10.0.0.0/7"`,
		`"010.0.0.0/24"`, `"256.0.0.0/24"`, `"127.0.0.0/24"`, `"10.0.0.0"`, `"10.0.0.1"`, `"10.0.1.1"`, `"fd00::1"`, `"fd00::/64"`, `"en0"`, `"a/b"`, `"a b"`, `".."`, `"/a"`, `"unix:///a"`,
		`"10s"`, `"1m30s"`, `"1.5h"`, `"0s"`, `"-1s"`, `"10"`, `"11m"`, `"vm.internal"`, `"a..b"`, `"-a"`, `"a_b."`, `"host-local"`,
		`[]`, `["x"]`, `["10.0.0.1"]`, `["one.one"]`, `["vm.internal"]`, `["0.0.0.0/0"]`, `["10.0.0.0/8"]`, `["::/0"]`, `[1]`, `[null]`, `{}`, `{"x":1}`, `{"x":true}`, `{"x":null}`,
	}
	base := map[string]json.RawMessage{"type": raw(`"vmnet"`), "name": raw(`"n"`), "cniVersion": raw(`"1.1.0"`)}
	var keys []string
	for key, p := range sub(s["properties"]) {
		if key == "name" || key == "cniVersion" || key == "prevResult" || key == "type" { // judged before, and by others
			continue
		}
		keys = append(keys, key)
		for _, below := range slices.Sorted(maps.Keys(propertiesOf(p))) {
			keys = append(keys, key+"."+below)
		}
	}
	slices.Sort(keys)
	keys = append(keys, "unknown", "dns.unknown", "shim.unknown", "guard.unknown", "ipam.unknown", "cni.dev/x", "Mode")
	n := 0
	check := func(doc map[string]json.RawMessage) {
		t.Helper()
		n++
		text, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if err := json.Unmarshal(text, &v); err != nil {
			t.Fatal(err)
		}
		_, perr := parseConfig(maps.Clone(doc), "1.1.0", true)
		var all problems
		all.add(perr)
		inSchema := slices.DeleteFunc(slices.Clone(all), func(err error) bool {
			return slices.ContainsFunc(beyond, func(s string) bool { return strings.Contains(err.Error(), s) })
		})
		if accepted := s.accepts(t, v); !accepted && len(all) == 0 || accepted && len(inSchema) > 0 {
			t.Errorf("%s\n\tschema accepts: %t; parser: %v", text, accepted, []error(all))
		}
	}
	set := func(doc map[string]json.RawMessage, key, value string) map[string]json.RawMessage {
		doc = maps.Clone(doc)
		if outer, inner, ok := strings.Cut(key, "."); ok && outer != "cni" {
			value, key = fmt.Sprintf(`{%s:%s}`, strconv.Quote(inner), value), outer
		}
		doc[key] = raw(value)
		return doc
	}
	for _, key := range keys {
		for _, value := range values {
			one := set(base, key, value)
			check(one)
			for _, with := range [][2]string{{"mode", `"bridged"`}, {"mode", `"host"`}, {"uplink", `"en0"`}, {"subnet", `"10.0.0.0/24"`}, {"ipam", `{"type":"none"}`}, {"hostLoopback", "true"}} {
				if key != with[0] && !strings.HasPrefix(key, with[0]+".") {
					check(set(one, with[0], with[1]))
				}
			}
		}
	}
	t.Logf("%d configurations", n)
}

// propertiesOf returns the properties of a schema, also behind anyOf.
func propertiesOf(v any) map[string]any {
	s := sub(v)
	if any, ok := s["anyOf"].([]any); ok {
		s = sub(any[0])
	}
	return sub(s["properties"])
}

// Every key that the parser takes is in the schema, and the other way round.
func TestSchemaHasEveryKey(t *testing.T) {
	s := loadSchema(t)
	inSchema := map[string]bool{}
	for key, p := range sub(s["properties"]) {
		inSchema[key] = true
		for below := range propertiesOf(p) {
			inSchema[below] = true
		}
	}
	taken := map[string]bool{}
	for _, name := range []string{"config.go", "validate.go"} {
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(".", name), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if sel, ok := n.Fun.(*ast.SelectorExpr); ok && (sel.Sel.Name == "take" || sel.Sel.Name == "raw") && len(n.Args) > 0 {
					addText(taken, n.Args[0])
				}
			case *ast.RangeStmt: // for _, key := range []string{…}
				if list, ok := n.X.(*ast.CompositeLit); ok {
					for _, e := range list.Elts {
						addText(taken, e)
					}
				}
			}
			return true
		})
	}
	taken["runtimeConfig"], taken["args"] = true, true // in runtime.go
	delete(taken, "cni.dev/valid-attachments")
	delete(taken, "cni.dev/attachments")
	for key := range taken {
		if !inSchema[key] {
			t.Errorf("the parser takes %q, which schema.json does not have", key)
		}
	}
	for key := range inSchema {
		if !taken[key] {
			t.Errorf("schema.json has %q, which the parser does not take", key)
		}
	}
}

func addText(set map[string]bool, e ast.Expr) {
	if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
		if s, err := strconv.Unquote(lit.Value); err == nil {
			set[s] = true
		}
	}
}
