package server_test

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/shim/server"
)

// readDocument takes openapi.yaml apart by its indentation: the methods of each
// path, and the properties of each schema. It relies on the file keeping to one
// property a line, as it does.
func readDocument(t *testing.T) (routes [][2]string, schemas map[string][]string) {
	t.Helper()
	data, err := os.ReadFile("../openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var (
		path     = regexp.MustCompile(`^  (/\S*):$`)
		method   = regexp.MustCompile(`^    (get|put|post|delete|patch):$`)
		schema   = regexp.MustCompile(`^    ([A-Z]\w*):$`)
		property = regexp.MustCompile(`^        (\w+):`)
	)
	schemas = map[string][]string{}
	section, current, inProperties := "", "", false
	for line := range strings.SplitSeq(string(data), "\n") {
		switch {
		case strings.HasPrefix(line, "paths:"), strings.HasPrefix(line, "  schemas:"), strings.HasPrefix(line, "components:"):
			section = strings.Trim(line, " :")
		case section == "paths" && path.MatchString(line):
			current = path.FindStringSubmatch(line)[1]
		case section == "paths" && method.MatchString(line):
			routes = append(routes, [2]string{strings.ToUpper(method.FindStringSubmatch(line)[1]), current})
		case section == "schemas" && schema.MatchString(line):
			current, inProperties = schema.FindStringSubmatch(line)[1], false
			schemas[current] = nil
		case section == "schemas" && line == "      properties:":
			inProperties = true
		case section == "schemas" && inProperties && property.MatchString(line):
			schemas[current] = append(schemas[current], property.FindStringSubmatch(line)[1])
		}
	}
	return routes, schemas
}

func TestEveryRouteIsDocumented(t *testing.T) {
	documented, _ := readDocument(t)
	served := server.Routes()
	byText := func(a, b [2]string) int { return strings.Compare(a[1]+a[0], b[1]+b[0]) }
	slices.SortFunc(documented, byText)
	slices.SortFunc(served, byText)
	if diff := cmp.Diff(served, documented); diff != "" {
		t.Errorf("routes of the server (-) and of openapi.yaml (+):\n%s", diff)
	}
	page, err := os.ReadFile("../../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range served {
		if !strings.Contains(string(page), "`"+r[0]+" "+r[1]+"`") {
			t.Errorf("docs/api.md does not have `%s %s`", r[0], r[1])
		}
	}
}

func TestEveryKeyIsDocumented(t *testing.T) {
	_, schemas := readDocument(t)
	for _, v := range []any{
		shim.Error{}, shim.NetworkSpec{}, shim.DNS{}, shim.AttachRequest{}, shim.Attachment{}, shim.IP{}, shim.Range{}, shim.Route{}, shim.Forward{}, shim.Bandwidth{}, shim.Guard{}, shim.Peer{},
		shim.Counters{}, shim.Direction{}, shim.Network{}, shim.Serialization{}, shim.LeasePolicy{}, shim.Lease{}, shim.SeenAddress{}, shim.Status{}, shim.GCRequest{}, shim.AttachmentID{}, shim.GCResult{}, shim.Event{},
	} {
		typ := reflect.TypeOf(v)
		var keys []string
		for i := range typ.NumField() {
			if name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ","); name != "" {
				keys = append(keys, name)
			}
		}
		if diff := cmp.Diff(keys, schemas[typ.Name()]); diff != "" {
			t.Errorf("keys of %s (-) and of openapi.yaml (+), in order:\n%s", typ.Name(), diff)
		}
	}
}
