package docs_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestConfigurations has the plugin judge every configuration on a page and in
// examples/.
func TestConfigurations(t *testing.T) {
	count := 0
	for _, p := range pages(t) {
		for _, b := range blocks(t, p) {
			var conf map[string]any
			if b.Language != "json" || !strings.Contains(b.Text, `"type": "vmnet"`) {
				continue
			}
			if err := json.Unmarshal([]byte(b.Text), &conf); err != nil {
				t.Errorf("%s:%d: %v", p.Path, b.Line, err)
				continue
			}
			if conf["plugins"] == nil {
				conf["cniVersion"], conf["name"] = "1.1.0", "shown"
			}
			data, err := json.Marshal(conf)
			if err != nil {
				t.Fatal(err)
			}
			count++
			if fault := validate(t, data); fault != "" {
				t.Errorf("%s:%d: %s", p.Path, b.Line, fault)
			}
		}
	}
	files, err := filepath.Glob(filepath.Join(root, "examples/*/*.conflist"))
	if err != nil || len(files) == 0 || count == 0 {
		t.Fatalf("%d files, %d configurations on pages, %v", len(files), count, err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if fault := validate(t, data); fault != "" {
			t.Errorf("%s: %s", f, fault)
		}
	}
}

// A property is a key of the configuration.
type property struct {
	enum    []any
	initial any
}

// properties collects the keys of a schema with their paths, as shim.spawn.
func properties(schema any, path string, into map[string]property) {
	switch s := schema.(type) {
	case []any:
		for _, v := range s {
			properties(v, path, into)
		}
	case map[string]any:
		for _, word := range []string{"anyOf", "allOf", "if", "then", "else"} {
			properties(s[word], path, into)
		}
		list, _ := s["properties"].(map[string]any)
		for name, sub := range list {
			at := strings.TrimPrefix(path+"."+name, ".")
			m, _ := sub.(map[string]any)
			p := into[at]
			if enum, ok := m["enum"].([]any); ok && p.enum == nil {
				p.enum = enum
			}
			if p.initial == nil {
				p.initial = m["default"]
			}
			into[at] = p
			properties(sub, at, into)
		}
	}
}

// schema returns the keys of the configuration, but those that belong to CNI.
func schema(t *testing.T) map[string]property {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal([]byte(source(t, "plugins/vmnet/schema.json")), &doc); err != nil {
		t.Fatal(err)
	}
	delete(doc, "allOf") // says which keys go together
	keys := map[string]property{}
	properties(doc, "", keys)
	for _, name := range []string{"type", "name", "cniVersion", "args", "runtimeConfig", "prevResult", "capabilities"} {
		if _, ok := keys[name]; !ok {
			t.Errorf("schema.json: no key %s", name)
		}
		delete(keys, name)
	}
	return keys
}

var tableRow = regexp.MustCompile("(?m)^\\| `([a-zA-Z0-9.]+)` \\|(.*)$")

// TestKeys compares the table of docs/configure.md with schema.json: keys, values
// and defaults.
func TestKeys(t *testing.T) {
	keys := schema(t)
	_, table, _ := strings.Cut(source(t, "docs/configure.md"), "\n| key | values | default | meaning |\n")
	table, _, _ = strings.Cut(table, "\n\n")
	rows := map[string]string{}
	for _, m := range tableRow.FindAllStringSubmatch(table, -1) {
		rows[m[1]] = m[2]
		if _, ok := keys[m[1]]; !ok {
			t.Errorf("docs/configure.md: no key %s in schema.json", m[1])
		}
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		row, name := rows[key], ""
		if parent, last, ok := strings.Cut(key, "."); ok && row == "" {
			row, name = rows[parent], last // told in the row of the object
		}
		if row == "" || name != "" && !strings.Contains(row, name) {
			if key != "shim" {
				t.Errorf("docs/configure.md: key %s is missing", key)
			}
			continue
		}
		if name != "" {
			continue
		}
		for _, v := range keys[key].enum {
			if text, ok := v.(string); ok && text != "" && text != "warn" && !strings.Contains(row, "`"+text+"`") {
				t.Errorf("docs/configure.md: key %s: value %s is missing", key, text)
			}
		}
		if d := keys[key].initial; d != nil && !strings.Contains(row, fmt.Sprint(d)) {
			t.Errorf("docs/configure.md: key %s: default %v is missing", key, d)
		}
	}
}

// known are keys that pages show and that are not the configuration's.
var known = []string{"type", "cniVersion", "plugins", "name", "capabilities", "routes", "dst", "ranges", "error", "ok", "stickyKey", "version", "key", "value"}

// TestInlineKeys looks for keys in the text that the configuration does not have.
func TestInlineKeys(t *testing.T) {
	for path := range schema(t) {
		known = append(known, path[strings.LastIndex(path, ".")+1:])
	}
	quoted := regexp.MustCompile(`"([a-zA-Z0-9]+)": `)
	for _, p := range pages(t) {
		if !strings.HasPrefix(p.Path, "docs/") && p.Path != "README.md" || p.Path == "docs/api.md" {
			continue
		}
		for _, span := range p.Code() {
			for _, m := range quoted.FindAllStringSubmatch(span, -1) {
				if !slices.Contains(known, m[1]) {
					t.Errorf("%s: %q: no key %s", p.Path, span, m[1])
				}
			}
		}
	}
}
