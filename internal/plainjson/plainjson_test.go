package plainjson_test

import (
	"encoding/json"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/vmnet-cni/vmnet/internal/plainjson"
)

func TestParse(t *testing.T) {
	deep := func(n int) (s string) {
		for range n {
			s += "["
		}
		for range n {
			s += "]"
		}
		return s
	}
	for text, plain := range map[string]bool{
		`{}`: true, ` [ ] `: true, `{"a":1,"b":[true,false,null,"x"]}`: true, `"a"`: true, `-12`: true, `0`: true, `-0`: true,
		`18446744073709551616`: true,
		``:                     false, ` `: false, `{`: false, `{"a"}`: false, `{"a":}`: false, `{"a":1,}`: false, `[1,]`: false, `[,]`: false,
		`{"a":1}x`: false, `{a:1}`: false, `01`: false, `-`: false, `+1`: false, `tru`: false, `nulL`: false, `1 2`: false, `"`: false, `[1`: false,
		// right, and not plain
		`1.5`: false, `1e3`: false, `"\n"`: false, `"ä"`: false, `{"\u0061":1}`: false, "\"\x7f\"": false,
		deep(plainjson.MaxDepth): true, deep(plainjson.MaxDepth + 1): false,
	} {
		if _, got := plainjson.Parse([]byte(text)); got != plain {
			t.Errorf("%s: plain %t, want %t", text, got, plain)
		}
	}
}

// A reader of every kind of value, on every kind of value.
func TestKinds(t *testing.T) {
	values := []string{`"a"`, `["a","b"]`, `[]`, `{"a":1}`, `true`, `false`, `null`, `12`, `-12`, `300`, `"192.0.2.1"`, `99999999999999999999`}
	for name, read := range map[string]func(plainjson.Value) (any, bool){
		`"a" "192.0.2.1"`:       func(v plainjson.Value) (any, bool) { var x string; return &x, v.Text(&x) },
		`["a","b"] []`:          func(v plainjson.Value) (any, bool) { var x []string; return &x, v.Texts(&x) },
		`true false`:            func(v plainjson.Value) (any, bool) { var x bool; return &x, v.Bool(&x) },
		`12 -12 300`:            func(v plainjson.Value) (any, bool) { var x int; return &x, v.Int(&x) },
		`12`:                    func(v plainjson.Value) (any, bool) { var x uint64; return &x, v.Uint(&x, 8) },
		`"192.0.2.1" (address)`: func(v plainjson.Value) (any, bool) { var x netip.Addr; return &x, v.Into(&x) },
	} {
		for _, text := range values {
			v, ok := plainjson.Parse([]byte(text))
			if !ok {
				t.Fatal(text)
			}
			got, ok := read(v)
			var want []string
			for w := range splitSeq(name) {
				want = append(want, w)
			}
			if ok != slices.Contains(want, text) {
				t.Errorf("%s: read %t by the reader of %s", text, ok, name)
			}
			if !ok {
				continue
			}
			again, err := json.Marshal(got)
			if err != nil || string(again) != text {
				t.Errorf("%s: read as %s, %v", text, again, err)
			}
		}
	}
}

func splitSeq(s string) func(func(string) bool) {
	return func(yield func(string) bool) {
		start := 0
		for i := range len(s) + 1 {
			if i == len(s) || s[i] == ' ' {
				if !yield(s[start:i]) {
					return
				}
				start = i + 1
			}
		}
	}
}

func TestObject(t *testing.T) {
	var empty, o, inner plainjson.Object
	if got, err := empty.Bytes(); err != nil || string(got) != "{}" {
		t.Errorf("empty: %s, %v", got, err)
	}
	o.Text("no", "")
	o.Texts("no", nil)
	o.Int("no", 0)
	o.True("no", false)
	o.Objects("no", 0, nil)
	o.Must("a", "")
	o.Text("b", "<\"\n&ä\xff\u2028")
	o.Texts("c", []string{"x", `\`})
	o.Int("d", -5)
	o.True("e", true)
	o.Marshaled("f", netip.MustParseAddr("fe80::1%e<h"))
	o.Object("g", &inner)
	o.Any("h", map[string]int{"z": 1})
	o.Objects("i", 2, func(i int, e *plainjson.Object) { e.Int("n", i) })
	o.Raw("j", []byte("null"))
	got, err := o.Bytes()
	want, merr := json.Marshal(struct {
		A string         `json:"a"`
		B string         `json:"b"`
		C []string       `json:"c"`
		D int            `json:"d"`
		E bool           `json:"e"`
		F netip.Addr     `json:"f"`
		G struct{}       `json:"g"`
		H map[string]int `json:"h"`
		I []struct {
			N int `json:"n,omitempty"`
		} `json:"i"`
		J *int `json:"j"`
	}{"", "<\"\n&ä\xff\u2028", []string{"x", `\`}, -5, true, netip.MustParseAddr("fe80::1%e<h"), struct{}{}, map[string]int{"z": 1}, []struct {
		N int `json:"n,omitempty"`
	}{{0}, {1}}, nil})
	if err != nil || merr != nil || string(got) != string(want) {
		t.Errorf("got  %s, %v\nwant %s, %v", got, err, want, merr)
	}
	var bad plainjson.Object
	bad.Any("x", func() {})
	bad.Int("y", 1)
	if _, err := bad.Bytes(); err == nil {
		t.Error("a function was written")
	}
}

// FuzzParse compares with encoding/json: what is plain is right, and has the same
// members.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{`{"a":{"b":[1,"x"]},"c":-0}`, `[[],{}]`, `{"a":1,"a":2}`, `"\u0041"`, `{"a" : "b" , "c":null}`, `[1.0]`, `tru`, "\x00"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, ok := plainjson.Parse(data)
		if !ok {
			return
		}
		if !json.Valid(data) {
			t.Fatalf("%q is plain and not right", data)
		}
		got := map[string]json.RawMessage{}
		isObject := v.Members(func(key string, v plainjson.Value) bool {
			got[key] = json.RawMessage(v)
			return true
		})
		var want map[string]json.RawMessage
		if err := json.Unmarshal(data, &want); err == nil && want != nil != isObject {
			t.Fatalf("%q: object %t", data, isObject)
		}
		if isObject && !maps.EqualFunc(got, want, func(a, b json.RawMessage) bool { return string(a) == string(b) }) {
			t.Errorf("%q: %q, want %q", data, got, want)
		}
		var text, wantText string
		if v.Text(&text) && (json.Unmarshal(data, &wantText) != nil || text != wantText) {
			t.Errorf("%q: %q, want %q", data, text, wantText)
		}
		var n, wantN int
		if v.Int(&n) && (json.Unmarshal(data, &wantN) != nil || n != wantN) {
			t.Errorf("%q: %d, want %d", data, n, wantN)
		}
	})
}
