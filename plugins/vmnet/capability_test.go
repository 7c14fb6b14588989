package main

import (
	"encoding/json"
	"testing"
)

// What runtimes send reaches the shim in one form.
func TestCapabilities(t *testing.T) {
	emptyDirs(t)
	longID := "8c1a2b3c4d5e6f708192a3b4c5d6e7f808192a3b4c5d6e7f808192a3b4c5d6e7"
	for _, tt := range []struct{ name, runtimeConfig, want string }{
		{"nothing", `{"portMappings":null,"bandwidth":null,"aliases":null}`, `{}`},
		{"empty", `{"portMappings":[],"bandwidth":{},"aliases":[]}`, `{}`},
		{"containerd", `{"portMappings":[{"HostPort":8080,"ContainerPort":80,"Protocol":"tcp","HostIP":""},{"HostPort":53,"ContainerPort":5353,"Protocol":"UDP","HostIP":"127.0.0.1"}],
			"bandwidth":{"IngressRate":10000000,"IngressBurst":4294967295,"EgressRate":0,"EgressBurst":0}}`,
			`{"forwards":[{"protocol":"tcp","hostPort":8080,"containerPort":80},{"protocol":"udp","hostIP":"127.0.0.1","hostPort":53,"containerPort":5353}],
			"bandwidth":{"ingressRate":10000000,"ingressBurst":4294967295}}`},
		{"CRI-O", `{"portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"TCP","hostIP":"::ffff:10.0.0.1"}],"bandwidth":{"egressRate":5,"egressBurst":6},"aliases":["web","db_1"]}`,
			`{"forwards":[{"protocol":"tcp","hostIP":"10.0.0.1","hostPort":8080,"containerPort":80}],"bandwidth":{"egressRate":5,"egressBurst":6},"aliases":["web","db_1"]}`},
		{"podman", `{"portMappings":[{"hostPort":8080,"containerPort":80,"protocol":""}],"aliases":{"other":["no.t"],"shared":["foo","` + longID + `"]}}`,
			`{"forwards":[{"protocol":"tcp","hostPort":8080,"containerPort":80}],"aliases":["foo","` + longID + `"]}`},
		{"podman, another network", `{"aliases":{"other":["foo"]}}`, `{}`},
		{"capital keys", `{"PortMappings":[{"HOSTPORT":1,"CONTAINERPORT":2}],"Aliases":["a"],"BandWidth":{"ingressrate":1}}`,
			`{"forwards":[{"protocol":"tcp","hostPort":1,"containerPort":2}],"aliases":["a"],"bandwidth":{"ingressRate":1}}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fake := newFakeShim(t)
			succeeds(t, "ADD", nil, conf(t, fake.path, runtimeConfig(tt.runtimeConfig)))
			req := fake.reqs["shared/vm1/eth0"]
			got, err := json.Marshal(map[string]any{"forwards": req.Forwards, "bandwidth": req.Bandwidth, "aliases": req.Aliases})
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]any{"forwards": nil, "bandwidth": map[string]any{}, "aliases": nil}
			if err := json.Unmarshal([]byte(tt.want), &want); err != nil {
				t.Fatal(err)
			}
			if w, _ := json.Marshal(want); compact(t, got) != compact(t, w) {
				t.Errorf("request %s, want %s", got, w)
			}
		})
	}
}

// compact returns data with its keys sorted.
func compact(t *testing.T, data []byte) string {
	t.Helper()
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
