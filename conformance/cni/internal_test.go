package cni

import (
	"encoding/json"
	"testing"
)

func TestPickConfig(t *testing.T) {
	for _, tt := range []struct{ name, in, plugin, want string }{
		{"a plugin's object", `{"name":"n","type":"p","x":"@N@"}`, "p", `{"cniVersion":"1.1.0","name":"n-2","type":"p","x":"2"}`},
		{"a list", `{"name":"n","cniVersion":"1.0.0","plugins":[{"type":"a"},{"type":"p"}]}`, "p", `{"cniVersion":"1.0.0","name":"n-2","type":"p"}`},
		{"a list without the name", `{"name":"n","cniVersion":"1.0.0","plugins":[{"type":"a"}]}`, "p", `{"cniVersion":"1.0.0","name":"n-2","type":"a"}`},
		{"no JSON", `x`, "p", ""}, {"no name", `{"type":"p"}`, "p", ""}, {"no type", `{"name":"n"}`, "p", ""},
		{"an empty list", `{"name":"n","plugins":[]}`, "p", ""}, {"a list of numbers", `{"name":"n","plugins":[1]}`, "p", ""},
	} {
		got, err := pickConfig([]byte(tt.in), tt.plugin, 2)
		if tt.want == "" {
			if err == nil {
				t.Errorf("%s: accepted: %v", tt.name, got)
			}
			continue
		}
		if err != nil || !sameJSON(encode(got), []byte(tt.want)) {
			t.Errorf("%s: %s, %v, want %s", tt.name, encode(got), err, tt.want)
		}
	}
}

// TestMerge has examples of RFC 7386, appendix A.
func TestMerge(t *testing.T) {
	for _, tt := range []struct{ in, patch, want string }{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`}, {`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`}, {`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`}, {`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
	} {
		var o object
		if err := json.Unmarshal([]byte(tt.in), &o); err != nil {
			t.Fatal(err)
		}
		if patched(tt.patch)(o); !sameJSON(encode(o), []byte(tt.want)) {
			t.Errorf("%s with %s: %s, want %s", tt.in, tt.patch, encode(o), tt.want)
		}
	}
}

func TestErrorDoc(t *testing.T) {
	for _, tt := range []struct{ stdout, why string }{
		{`{"code":7,"msg":"m"}`, ""}, {` {"cniVersion":"1.1.0","code":7,"msg":"m","details":"d"} `, ""},
		{"", "stdout is empty"}, {"x", "stdout is not JSON alone"}, {`{"code":7,"msg":"m"} x`, "stdout is not JSON alone"},
		{`{}{}`, "2 JSON documents on stdout"}, {`[]`, "stdout holds no JSON object"}, {`null`, "stdout holds no JSON object"},
		{`{"msg":"m"}`, "error without a numeric code"}, {`{"code":"7","msg":"m"}`, "error without a numeric code"},
		{`{"code":7.5,"msg":"m"}`, "error without a numeric code"}, {`{"code":7}`, "error without a msg"},
	} {
		if _, why := (&outcome{stdout: []byte(tt.stdout)}).errorDoc(); why != tt.why {
			t.Errorf("%s: %q, want %q", tt.stdout, why, tt.why)
		}
	}
}

// TestChecks: IDs are in order, unique, and every check says where it comes from.
func TestChecks(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range Checks() {
		if len(c.ID) != 3 || seen[c.ID] || c.Sentence == "" || c.Source == "" || c.do == nil || c.Level == "" || c.Grade == "" {
			t.Errorf("check %+v is incomplete, or its ID is taken", c)
		}
		seen[c.ID] = true
	}
}

// FuzzOutput: whatever a plugin prints, the suite has a verdict.
func FuzzOutput(f *testing.F) {
	for _, s := range []string{"", "{}", `{"code":7,"msg":"m"}`, `{"interfaces":[{"name":1}],"ips":"x"}`, "{}{}", "[", `{"ips":[1,null,{"address":7}]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, stdout []byte) {
		o := &outcome{stdout: stdout}
		if doc, why := o.errorDoc(); (doc == nil) == (why == "") {
			t.Errorf("%q: neither a document nor a reason", stdout)
		}
		a := &attachment{result: stdout}
		a.own()
		a.addresses()
		_ = o.String()
	})
}

// FuzzConfig: whatever the configuration, there is an error or an object with
// what the checks need.
func FuzzConfig(f *testing.F) {
	for _, s := range []string{"{}", `{"name":"n","type":"p"}`, `{"name":"n","plugins":[{"type":"p"}]}`, `{"name":"n","plugins":[null]}`, `{"plugins":[{}]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		o, err := pickConfig(raw, "p", 1)
		if err != nil {
			return
		}
		for _, key := range []string{"name", "type", "cniVersion"} {
			if _, ok := o[key].(string); !ok {
				t.Errorf("%q: no %s", raw, key)
			}
		}
	})
}
