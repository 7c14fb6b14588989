package handover

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
)

// FuzzMessage: whatever comes, the decoder answers with a valid message that
// survives a round trip, or with an error that wraps ErrProtocol.
func FuzzMessage(f *testing.F) {
	f.Add([]byte(`{"version":1,"network":"shared","containerID":"vm1","ifname":"eth0","kind":"dgram","mac":"02:00:00:00:00:01","mtu":1500,"maxFrameSize":1514,"offload":false,"ips":["192.168.127.2/24","fd00::2/64"]}`))
	f.Add([]byte(`{"version":1,"network":"n","containerID":"c","ifname":"i","kind":"tap","mac":"02-00-00-00-00-01","mtu":68,"maxFrameSize":131072,"offload":true,"ips":null,"future":{}}`))
	f.Add([]byte(`{"version":2}`))
	f.Add([]byte(`null`))
	f.Add([]byte(`{}{}`))
	f.Add([]byte("{\"version\":1,\"network\":\"\\u0000\xff\"}"))
	f.Fuzz(func(t *testing.T, line []byte) {
		m, err := decodeMessage(line)
		if err != nil {
			if !errors.Is(err, ErrProtocol) {
				t.Fatalf("error %v does not wrap ErrProtocol", err)
			}
			return
		}
		out, err := m.encode()
		if err != nil {
			if len(line) < MaxLine/8 { // escapes and names of fields can make it longer
				t.Fatalf("decoded %+v, but encode: %v", m, err)
			}
			return
		}
		if bytes.IndexByte(out, '\n') != len(out)-1 {
			t.Fatalf("a newline inside the line %q", out)
		}
		again, err := decodeMessage(out[:len(out)-1])
		if m.IPs == nil {
			m.IPs = []string{}
		}
		if err != nil || !reflect.DeepEqual(again, m) {
			t.Fatalf("round trip: %+v, %v; want %+v", again, err, m)
		}
	})
}

// FuzzAnswer: every answer is a yes, a refusal with a reason, or ErrProtocol.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{`{"ok":true}`, `{"error":"no"}`, `{}`, `{"ok":1}`, `null`, `[]`, ``} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		err := decodeAnswer(line)
		refused := new(RefusedError)
		if err != nil && !errors.Is(err, ErrProtocol) && (!errors.As(err, &refused) || refused.Reason == "") {
			t.Fatalf("decodeAnswer(%q) = %v", line, err)
		}
	})
}
