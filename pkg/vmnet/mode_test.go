package vmnet_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

func TestModeText(t *testing.T) {
	for text, want := range map[string]vmnet.Mode{
		"": vmnet.Shared, "shared": vmnet.Shared, "host": vmnet.Host, "bridged": vmnet.Bridged,
	} {
		got, err := vmnet.ParseMode(text)
		if err != nil || got != want {
			t.Errorf("ParseMode(%q) = %v, %v, want %v", text, got, err, want)
		}
		if text != "" && got.String() != text {
			t.Errorf("%q comes back as %q", text, got)
		}
	}
	if want := []string{"shared", "host", "bridged"}; !slices.Equal(vmnet.Modes(), want) {
		t.Errorf("Modes() = %q, want %q", vmnet.Modes(), want)
	}
	var zero vmnet.Mode
	if zero != vmnet.Shared {
		t.Errorf("the zero Mode is %s, want shared", zero)
	}
	for _, text := range []string{"Shared", "nat", "shared ", "mode(3)", "bridge\x00"} {
		if got, err := vmnet.ParseMode(text); err == nil {
			t.Errorf("ParseMode(%q) = %v, want an error", text, got)
		} else if !strings.Contains(err.Error(), fmt.Sprintf("%q", text)) || !strings.Contains(err.Error(), "bridged") {
			t.Errorf("ParseMode(%q): %q names neither the value nor what would be right", text, err)
		}
	}
}

func TestModeJSONAndFlag(t *testing.T) {
	var v struct {
		Mode vmnet.Mode `json:"mode"`
	}
	for _, text := range vmnet.Modes() {
		in := `{"mode":"` + text + `"}`
		if err := json.Unmarshal([]byte(in), &v); err != nil {
			t.Errorf("%s: %v", in, err)
		}
		if out, err := json.Marshal(v); err != nil || string(out) != in {
			t.Errorf("%s comes back as %s, %v", in, out, err)
		}
		fs := flag.NewFlagSet("", flag.ContinueOnError)
		var m vmnet.Mode
		fs.TextVar(&m, "mode", vmnet.Shared, "")
		if err := fs.Parse([]string{"-mode", text}); err != nil || m.String() != text {
			t.Errorf("-mode %s: %v, %v", text, m, err)
		}
	}
	v.Mode = vmnet.Host
	for _, in := range []string{`{"mode":"wifi"}`, `{"mode":1}`} {
		if err := json.Unmarshal([]byte(in), &v); err == nil || v.Mode != vmnet.Host {
			t.Errorf("%s: mode %s, %v, want an error and no change", in, v.Mode, err)
		}
	}
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	var m vmnet.Mode
	fs.TextVar(&m, "mode", vmnet.Shared, "")
	if err := fs.Parse([]string{"-mode", "wifi"}); err == nil {
		t.Errorf("-mode wifi: no error")
	}
	if out, err := vmnet.Mode(7).MarshalText(); err == nil {
		t.Errorf("Mode(7) marshals as %q", out)
	}
	if got := vmnet.Mode(7).String(); got != "mode(7)" {
		t.Errorf("Mode(7) prints as %q", got)
	}
}

func FuzzMode(f *testing.F) {
	for _, s := range append(vmnet.Modes(), "", "Host", "mode(9)") {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, err := vmnet.ParseMode(s)
		if err != nil {
			return
		}
		text, err := m.MarshalText()
		if err != nil || s != "" && string(text) != s {
			t.Fatalf("%q parses as %v, which marshals as %q, %v", s, m, text, err)
		}
	})
}
