package main

import (
	"strings"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// The last column of "vmnet-shim ls".
func TestGuestColumn(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.Local)
	for want, a := range map[string]shim.Attachment{
		"":                               {},
		"fd":                             {Peer: shim.Peer{Connected: true, Via: "fd"}},
		"gone since 2026-03-04 05:06:07": {Peer: shim.Peer{GoneSince: at}},
		"broken":                         {Problem: "no interface", Peer: shim.Peer{GoneSince: at}},
	} {
		if got := guest(a); strings.TrimSpace(got) != want {
			t.Errorf("%+v: %q, want %q", a.Peer, got, want)
		}
	}
}
