package doctor

import (
	"reflect"
	"testing"
)

func TestPlist(t *testing.T) {
	for in, want := range map[string]any{
		"": nil,
		`<plist version="1.0"><dict><key>a</key><integer> 3 </integer><key>b</key><array><true/><string>x</string></array><key>c</key><false/></dict></plist>`: map[string]any{
			"a": int64(3), "b": []any{true, "x"}, "c": false},
	} {
		got, err := parsePlist([]byte(in))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"<plist><dict>", "<plist><dict><true/></dict></plist>", "<plist><integer>x</integer></plist>", "{}<"} {
		if v, err := parsePlist([]byte(in)); err == nil {
			t.Errorf("%s: %v", in, v)
		}
	}
}

// FuzzOutputs: whatever commands print, nothing panics.
func FuzzOutputs(f *testing.F) {
	f.Add(`<plist version="1.0"><dict><key>a</key><array><true/></array></dict></plist>`)
	f.Add(`{"nftables": [{"table": {"family": "ip", "name": "nat"}}, {"table": null}]}`)
	f.Add("1 : /usr/libexec/bootpd \n             (Block incoming connections) \n")
	f.Add("MDM enrollment: Yes\n  interface: utun4\n")
	f.Fuzz(func(_ *testing.T, s string) {
		_, _ = parsePlist([]byte(s))
		_, _ = parseTables(s)
		bootpdBlocked(s, s, s)
		managed(s)
		defaultLink(s)
	})
}
