package server_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/shim/server"
)

// A schema is what openapi.yaml says of a value.
type schema struct {
	Ref        string             `yaml:"$ref"`
	AllOf      []*schema          `yaml:"allOf"`
	Type       string             `yaml:"type"`
	Enum       []any              `yaml:"enum"`
	Default    any                `yaml:"default"`
	Items      *schema            `yaml:"items"`
	MaxItems   int                `yaml:"maxItems"`
	MaxLength  int                `yaml:"maxLength"`
	Minimum    *int               `yaml:"minimum"`
	Maximum    *int               `yaml:"maximum"`
	Properties map[string]*schema `yaml:"properties"`
}

// schemas returns those of openapi.yaml.
func schemas(t *testing.T) map[string]*schema {
	t.Helper()
	data, err := os.ReadFile("../openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Components struct {
			Schemas map[string]*schema `yaml:"schemas"`
		} `yaml:"components"`
	}
	if err := yaml.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	return doc.Components.Schemas
}

// sample returns the value number i of a list that is documented as name.
func sample(name string, i int) any {
	switch name {
	case "ips":
		return []string{"192.168.127.9", "fd00::9", "10.0.0.9"}[i%3]
	case "ranges":
		return map[string]any{"first": fmt.Sprintf("10.0.0.%d", 10+2*i), "last": fmt.Sprintf("10.0.0.%d", 11+2*i)}
	case "routes":
		return map[string]any{"dst": fmt.Sprintf("10.%d.0.0/16", i)}
	case "allow", "deny":
		return fmt.Sprintf("10.%d.0.0/16", i)
	case "forwards":
		return map[string]any{"hostPort": 1000 + i, "containerPort": 80}
	case "nameservers":
		return fmt.Sprintf("10.0.0.%d", i)
	case "aliases", "search", "options":
		return fmt.Sprintf("name-%d", i)
	}
	panic("no sample of " + name)
}

// beside is what a value at a limit wants beside it.
func beside(key string, value any) string {
	switch {
	case key == "frames" && value == "tap":
		return `{"network":{"driver":"tap"}}`
	case key == "network.mode" && value == "bridged":
		return `{"network":{"uplink":"en0"}}`
	case key == "network.ipam" && value == "delegated", key == "routes":
		return `{"network":{"ipam":"delegated","subnet":"192.168.127.0/24"},"ips":["192.168.127.9/24"]}`
	case key == "ranges":
		return `{"network":{"subnet":"10.0.0.0/24"}}`
	}
	return "{}"
}

// TestDocumentedLimits asks for values at and beyond every limit that openapi.yaml
// gives for a request: the server refuses the ones beyond, naming the key, and no
// other for that reason.
func TestDocumentedLimits(t *testing.T) {
	all := schemas(t)
	probes := 0
	var walk func(path []string, s *schema)
	walk = func(path []string, s *schema) {
		for s.Ref != "" || len(s.AllOf) > 0 {
			if s.Ref == "" {
				s = s.AllOf[0]
			}
			if s.Ref != "" {
				s = all[s.Ref[strings.LastIndex(s.Ref, "/")+1:]]
			}
		}
		for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
			walk(append(slices.Clone(path), name), s.Properties[name])
		}
		key := strings.Join(path, ".")
		for _, p := range limits(path, s) {
			probes++
			if said := refused(t, path, p.value); said != p.bad {
				t.Errorf("%s %.60s: refused %t, openapi.yaml says %t", key, fmt.Sprint(p.value), said, p.bad)
			}
		}
	}
	walk(nil, all["AttachRequest"])
	if probes < 60 {
		t.Errorf("%d values were tried: want more", probes)
	}
}

// A probe is a value, and whether it is beyond a limit.
type probe struct {
	value any
	bad   bool
}

// limits returns values at and beyond the limits of s.
func limits(path []string, s *schema) (list []probe) {
	name := path[max(len(path)-1, 0):] // empty for the whole
	for _, v := range s.Enum {
		list = append(list, probe{v, false})
	}
	if len(s.Enum) > 0 {
		list = append(list, probe{"another", true})
	}
	if s.Minimum != nil {
		list = append(list, probe{*s.Minimum, false}, probe{*s.Minimum - 1, true})
	}
	if s.Maximum != nil {
		list = append(list, probe{*s.Maximum, false}, probe{*s.Maximum + 1, true})
	}
	if s.MaxItems > 0 {
		list = append(list, probe{many(name[0], s.MaxItems), false}, probe{many(name[0], s.MaxItems+1), true})
	}
	if s.MaxLength > 0 && s.Type == "string" {
		list = append(list, probe{strings.Repeat("a", s.MaxLength), false}, probe{strings.Repeat("a", s.MaxLength+1), true})
	}
	return list
}

// many returns n different values for a list.
func many(name string, n int) (list []any) {
	for i := range n {
		list = append(list, sample(name, i))
	}
	return list
}

// refused reports whether the server refuses a request for its value at path: with
// a key that is the path, or what the path is in.
func refused(t *testing.T, path []string, value any) bool {
	t.Helper()
	key := strings.Join(path, ".")
	tree := map[string]any{}
	if err := json.Unmarshal([]byte(beside(key, value)), &tree); err != nil {
		t.Fatal(err)
	}
	at := tree
	for _, p := range path[:len(path)-1] {
		next, ok := at[p].(map[string]any)
		if !ok {
			next = map[string]any{}
		}
		at[p] = next
		at = next
	}
	at[path[len(path)-1]] = value
	data, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	_, err = server.DecodeAttach(data)
	var e *shim.Error
	if err == nil || !errors.As(err, &e) {
		return err != nil
	}
	return e.Key == key || strings.HasPrefix(e.Key, key+"[") || strings.HasPrefix(key, e.Key+".")
}
