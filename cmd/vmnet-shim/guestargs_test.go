package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// attached attaches container c1 to network n, with the shim of the world.
func (w *world) attached(t *testing.T) shim.Attachment {
	t.Helper()
	if status, _, errs := w.run("run", "--", "true"); status != 0 { // starts the shim
		t.Fatal(errs)
	}
	c := shim.NewClient(w.dirs.ShimSocket())
	t.Cleanup(func() { c.Close() })
	a, err := c.Attach(t.Context(), "n", "c1", "eth0", shim.AttachRequest{Network: shim.NetworkSpec{Name: "n"}})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestGuestArgs(t *testing.T) {
	w := newWorld(t)
	a := w.attached(t)
	replace := strings.NewReplacer("MAC", a.MAC, "DGRAM", a.DgramSocketPath, "STREAM", a.StreamSocketPath,
		"ADDR4", a.IPs[0].Address.String(), "ADDR6", a.IPs[1].Address.String(),
		"GW4", a.IPs[0].Gateway.String(), "GW6", a.IPs[1].Gateway.String(), "DNS", strings.Join(a.DNS.Nameservers, ",nameserver="))
	for _, tt := range []struct{ args, want string }{
		{"qemu-args c1", "-netdev stream,id=vmnet0,server=off,addr.type=unix,addr.path=STREAM,reconnect-ms=500 -device virtio-net-pci,netdev=vmnet0,mac=MAC"},
		{"qemu-args c1 --qemu-version 8.2.4", "-netdev stream,id=vmnet0,server=off,addr.type=unix,addr.path=STREAM,reconnect=1 -device virtio-net-pci,netdev=vmnet0,mac=MAC"},
		{"vfkit-args c1 --network n", "--device virtio-net,unixSocketPath=DGRAM,mac=MAC"},
		{"krunkit-args c1 --ifname eth0", "--device virtio-net,type=unixgram,path=DGRAM,mac=MAC,offloading=off"},
		{"annotations c1", "--annotation io.containerd.nerdbox.network.0=socket=DGRAM,mode=unixgram,mac=MAC,addr=ADDR4,addr=ADDR6"},
		{"annotations c1 --container", "--annotation io.containerd.nerdbox.network.0=socket=DGRAM,mode=unixgram,mac=MAC " +
			"--annotation io.containerd.nerdbox.ctr.network.0=vmmac=MAC,addr=ADDR4,addr=ADDR6,ifname=eth0,gw=GW4,gw=GW6 " +
			"--annotation io.containerd.nerdbox.ctr.dns=nameserver=DNS"},
	} {
		want := replace.Replace(tt.want)
		status, out, errs := w.run(strings.Fields(tt.args)...)
		if status != 0 || out != want+"\n" {
			t.Errorf("%s: %d %s\n got %s\nwant %s", tt.args, status, errs, out, want)
		}
		status, out, _ = w.run(append(strings.Fields(tt.args), "-o", "json")...)
		var words []string
		if err := json.Unmarshal([]byte(out), &words); status != 0 || err != nil || !slices.Equal(words, strings.Fields(want)) {
			t.Errorf("%s -o json: %d, %v, %s", tt.args, status, err, out)
		}
	}
	for _, tt := range []struct{ args, want string }{
		{"qemu-args c2", "container c2"},
		{"qemu-args c1 --network m", "container c1"},
		{"qemu-args c1 --qemu-version x", `--qemu-version "x"`},
		{"qemu-args c1 --qemu-version 6.0", "7.2 or newer"},
		{"vfkit-args", "vfkit-args: want CONTAINER"},
	} {
		if status, _, errs := w.run(strings.Fields(tt.args)...); status != 1 || !strings.Contains(errs, tt.want) {
			t.Errorf("%s: %d %s, want %s", tt.args, status, errs, tt.want)
		}
	}
}

// TestGuestArgsOffload has the arguments of an attachment with large frames say so, or
// be refused.
func TestGuestArgsOffload(t *testing.T) {
	w := newWorld(t)
	w.attached(t)
	c := shim.NewClient(w.dirs.ShimSocket())
	t.Cleanup(func() { c.Close() })
	for id, header := range map[string]bool{"plain": false, "header": true} {
		_, err := c.Attach(t.Context(), "whole", id, "eth0", shim.AttachRequest{VnetHeader: header, Network: shim.NetworkSpec{Name: "whole", Offload: true}})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		args, want string
		status     int
	}{
		{"krunkit-args plain", ",offloading=on\n", 0},
		{"annotations plain", ",features=VIRTIO_NET_F_CSUM|VIRTIO_NET_F_GUEST_CSUM|VIRTIO_NET_F_GUEST_TSO4|", 0},
		{"annotations header", "|VIRTIO_NET_F_HOST_TSO6,vnet_hdr=true,addr=", 0},
		{"qemu-args plain", "attachment whole/plain/eth0: offload true: QEMU on a socket would get frames of 65550 bytes", 1},
		{"vfkit-args plain", "offload true: vfkit would get", 1},
		{"krunkit-args header", "vnetHeader true: krunkit", 1},
	} {
		status, out, errs := w.run(strings.Fields(tt.args)...)
		if status != tt.status || !strings.Contains(out+errs, tt.want) {
			t.Errorf("%s: %d %s%s\nwant %s", tt.args, status, out, errs, tt.want)
		}
	}
}

// TestNoSocket has an attachment whose guest has the tap refused where a runtime wants
// a path, and not printed without one.
func TestNoSocket(t *testing.T) {
	a := shim.Attachment{Network: "n", ContainerID: "c", IfName: "i", Frames: shim.FramesTap}
	if err := noSocket("vfkit", a); err == nil || !strings.Contains(err.Error(), "attachment n/c/i: frames tap: there is no socket for vfkit") {
		t.Error(err)
	}
	a.DgramSocketPath = "/d"
	if err := noSocket("vfkit", a); err != nil {
		t.Error(err)
	}
}

// TestEyes looks at an attachment with stats, events and capture.
func TestEyes(t *testing.T) {
	w := newWorld(t)
	w.attached(t)
	status, out, errs := w.run("stats", "--interval", "100ms", "--count", "2")
	if status != 0 || strings.Count(out, "NETWORK") != 2 || !strings.Contains(out, "QUEUED") || !strings.Contains(out, "n        c1") {
		t.Errorf("stats: %d %s\n%s", status, errs, out)
	}
	status, out, errs = w.run("stats", "--interval", "100ms", "--count", "1", "-o", "json")
	var rates []attachmentRate
	if err := json.Unmarshal([]byte(out), &rates); status != 0 || err != nil || len(rates) != 1 || rates[0].ContainerID != "c1" {
		t.Errorf("stats: %d %s %v\n%s", status, errs, err, out)
	}
	kept := filepath.Join(t.TempDir(), "kept.pcapng") // as no capture begins
	if err := os.WriteFile(kept, []byte("frames"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ args, want string }{
		{"stats --interval 1ms", "want 100ms"},
		{"capture n c1 eth9", "n/c1/eth9"},
		{"capture n c1 eth0 --filter foo", `"foo"`},
		{"capture n c1 eth0 --ring 1MiB:3", "want --write"},
		{"capture n c1 eth0 --ring 1:3 -w x", "SIZE:FILES"},
		{"capture n c1 eth9 -w " + kept, "n/c1/eth9"},
	} {
		if status, _, errs := w.run(strings.Fields(tt.args)...); status != 1 || !strings.Contains(errs, tt.want) {
			t.Errorf("%s: %d %s, want %s", tt.args, status, errs, tt.want)
		}
	}
	if data, err := os.ReadFile(kept); err != nil || string(data) != "frames" {
		t.Errorf("a capture that did not begin left %q, %v", data, err)
	}
}

// TestRates compares looks at a shim that goes on and at one that began anew.
func TestRates(t *testing.T) {
	at := func(s int, d shim.Direction) look {
		return look{time.Unix(int64(s), 0), []shim.Attachment{{Network: "n", ContainerID: "c", IfName: "i", Counters: shim.Counters{FromGuest: d}}}}
	}
	before := at(0, shim.Direction{Frames: 10, Bytes: 1000, Drops: map[string]uint64{"runt": 5}})
	for _, tt := range []struct {
		now  shim.Direction
		want rate
	}{
		{shim.Direction{Frames: 30, Bytes: 3000, Drops: map[string]uint64{"runt": 7}, QueuedBytes: 9}, rate{10, 8000, map[string]uint64{"runt": 2}, 9}},
		{shim.Direction{Frames: 4, Bytes: 400, Drops: map[string]uint64{"runt": 1}}, rate{2, 1600, map[string]uint64{"runt": 1}, 0}},
		{shim.Direction{Frames: 12, Bytes: 600}, rate{6, 2400, nil, 0}}, // more frames, and smaller ones
	} {
		if got := rates(before, at(2, tt.now))[0].FromGuest; !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%+v: %+v, want %+v", tt.now, got, tt.want)
		}
	}
}
