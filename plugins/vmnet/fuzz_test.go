package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// FuzzConfig: whatever stands on stdin and in CNI_ARGS, the parser answers with
// a configuration whose request is well-formed, or with an error that has one of
// the codes for input and a message of bounded length.
func FuzzConfig(f *testing.F) {
	for _, c := range badConfig[:20] {
		f.Add([]byte(conf(f, "/s", c.keys)), "")
	}
	for _, c := range badRuntimeConfig {
		f.Add([]byte(conf(f, "/s", c.keys)), "")
	}
	f.Add([]byte(conf(f, "/s", map[string]any{"subnet": "10.0.0.0/24", "gateway": "10.0.0.1", "guard": raw(`{"mac":false}`)})), "IP=10.0.0.2;MAC=02:00:00:00:00:01;IgnoreUnknown=1;X=y")
	f.Add([]byte(conf(f, "/s", map[string]any{"prevResult": raw(goodPrev), "cni.dev/valid-attachments": raw(`[{"containerID":"a","ifname":"b"}]`)})), ";")
	f.Add([]byte(conf(f, "/s", runtimeConfig(`{"portMappings":[{"HostPort":8080,"ContainerPort":80,"Protocol":"UDP","HostIP":"127.0.0.1"}],
		"bandwidth":{"IngressRate":1,"EgressBurst":4294967295},"aliases":{"shared":["a"]}}`))), "")
	f.Fuzz(func(t *testing.T, stdin []byte, args string) {
		c, err := parseAll(stdin, args)
		if err != nil {
			e := asCNIError(err)
			switch e.Code {
			case codeVersion, codeUnsupported, codeEnv, codeDecode, codeConfig:
			default:
				t.Fatalf("code %d: %s", e.Code, e.Msg)
			}
			if e.Msg == "" || len(e.Msg) > 1024+10*len(stdin)+10*len(args) {
				t.Fatalf("message of %d bytes", len(e.Msg))
			}
			return
		}
		if shim.CheckNetwork(c.Name) != nil || c.Spec.Name != c.Name || c.Shim.Timeout <= 0 || c.Shim.Timeout > maxTimeout {
			t.Fatalf("accepted %+v", c)
		}
		if c.Spec.Subnet6.IsValid() || c.Frames == shim.FramesTap || c.Spec.Driver == shim.DriverTap {
			t.Fatalf("accepted what is not built: %+v", c)
		}
		if _, err := json.Marshal(c.Spec); err != nil {
			t.Fatalf("request: %v", err)
		}
	})
}

// parseAll is everything that ADD does with its input before it asks anybody.
func parseAll(stdin []byte, args string) (*config, error) {
	raw, err := readStdin(bytes.NewReader(stdin))
	if err != nil {
		return nil, err
	}
	top, said, err := readHead(raw)
	if err != nil {
		return nil, err
	}
	if err := checkVersion("ADD", verbs["ADD"], said); err != nil {
		return nil, err
	}
	c, err := parseConfig(top, said, true)
	if err != nil {
		return nil, err
	}
	if _, err := prevResult(c); err != nil {
		return nil, err
	}
	want := c.wanted
	if err := want.parseArgs(strings.ToValidUTF8(args, "")); err != nil {
		return nil, err
	}
	return c, want.check(c.Spec)
}
