package server_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"

	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/shim/server"
)

// FuzzAttachRequest: whatever comes, the answer is a request or an Error with a
// code; and a request that was accepted means the same when it comes again from
// the state file.
func FuzzAttachRequest(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"network":{"name":"n"}}`, `{"network":{"mode":"host","subnet":"10.0.0.0/24","gateway":"10.0.0.1","mtu":9000,"isolated":true}}`,
		`{"mac":"02-00-00-00-00-01","ips":["10.0.0.9/24"],"hostname":"a.b.","frames":"stream","requestID":"x","sandbox":"vm://1"}`,
		`{"network":{"dns":{"nameservers":["::1"],"domain":"x","search":["a"],"options":["ndots:1"]}}}`,
		`{"forwards":[{"protocol":"UDP","hostIP":"::ffff:127.0.0.1","hostPort":1,"containerPort":2},{"hostPort":1,"containerPort":2},{"hostPort":1,"containerPort":2}]}`,
		`{"forwards":[{"hostPort":1,"containerPort":2},{"hostPort":1,"containerPort":3}],"bandwidth":{"ingressRate":1,"ingressBurst":4294967295,"egressBurst":5}}`,
		`{"aliases":["Web","web","0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","a_b"]}`,
		`{"network":null,"ips":null}`, `[]`, `{"a":1}`, `{"ips":[null]}`, `{"network":{"mtu":1e3}}`, "{\"mac\":\"\xff\"}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		req, err := server.DecodeAttach(data)
		if err != nil {
			var e *shim.Error
			if !errors.As(err, &e) || e.Code == "" || e.Message == "" {
				t.Fatalf("error %v, want an Error with code and message", err)
			}
			return
		}
		kept, err := json.Marshal(req)
		if err != nil {
			t.Fatal(err)
		}
		again, err := server.DecodeAttach(kept)
		if err != nil || !reflect.DeepEqual(req, again) {
			t.Fatalf("again %+v, %v\nfirst %+v", again, err, req)
		}
	})
}

// FuzzGCRequest: a list that is not there is never an empty list.
func FuzzGCRequest(f *testing.F) {
	for _, seed := range []string{`{"valid":[]}`, `{"valid":null}`, `{"valid":[{"containerID":"c","ifname":"e"}]}`, `{}`, `{"valid":[1]}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		req, err := server.DecodeGC(data)
		if err != nil {
			return
		}
		var raw struct{ Valid *[]json.RawMessage }
		if json.Unmarshal(data, &raw) == nil && raw.Valid == nil && req.Valid != nil {
			t.Fatalf("%s: list %v from nothing", data, req.Valid)
		}
	})
}

// FuzzStateFile: a state file is refused, or what it says could have been asked
// for.
func FuzzStateFile(f *testing.F) {
	for _, seed := range []string{
		`{"version":1,"network":"n","containerID":"c","ifname":"eth0","uuid":"6f0f8a54-7c1b-5a0e-9d3f-5f4e7b1a2c90","mac":"02:00:00:00:00:01","addr":"10.0.0.2/24","owner":0,"created":"2026-01-02T03:04:05Z","request":{"network":{"name":"n","mode":"shared"}},"granted":{"name":"n","mode":"shared"}}`,
		`{"version":2}`, `{"version":1}`, `{}`, `null`, `{"version":1,"network":"../n","containerID":"c","ifname":"e"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		key, req, err := server.ReadRecord(data)
		if err != nil {
			return
		}
		for _, err := range []error{shim.CheckNetwork(key.Network), shim.CheckContainerID(key.ContainerID), shim.CheckIfName(key.IfName)} {
			if err != nil {
				t.Fatalf("%s: %v", data, err)
			}
		}
		if req.Network.Name != key.Network || req.Network.MTU == 0 || req.Frames == "" {
			t.Fatalf("%s: request %+v is not normalized", data, req)
		}
	})
}
