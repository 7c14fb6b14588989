package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/gopacket/gopacket/pcapgo"

	"github.com/vmnet-cni/vmnet/pkg/relay"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// TestCapture captures the exchange of DHCP, with a filter and to a count.
func TestCapture(t *testing.T) {
	r := start(t, config(newDirs(t)))
	r.attach("n", "c", shim.AttachRequest{})
	before := r.census()
	in, err := r.Capture(t.Context(), "n", "c", "eth0", shim.CaptureOptions{Filter: "udp port 67 or udp port 68", SnapLen: 300, Count: 2})
	if err != nil {
		t.Fatal(err)
	}
	m, f, err := r.Frames(t.Context(), "n", "c", "eth0")
	if err != nil {
		t.Fatal(err)
	}
	guest := conn(t, f)
	offered(t, m, guest)
	ng, err := pcapgo.NewNgReader(in, pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []pcapgo.NgEpbFlag{pcapgo.NgEpbFlagDirectionInbound, pcapgo.NgEpbFlagDirectionOutbound} {
		_, ci, opts, err := ng.ReadPacketDataWithOptions()
		if err != nil {
			t.Fatal(err)
		}
		if opts.Flags.Direction != want || ci.CaptureLength > 300 || time.Since(ci.Timestamp) > time.Minute {
			t.Errorf("frame %d: %+v, %+v", i, ci, opts.Flags)
		}
	}
	if _, _, _, err := ng.ReadPacketDataWithOptions(); !errors.Is(err, io.EOF) {
		t.Errorf("after the count: %v", err)
	}
	if i, err := ng.Interface(0); err != nil || i.Name != "n/c/eth0" {
		t.Errorf("interface %+v, %v", i, err)
	}
	in.Close()
	guest.Close()
	if err := r.Detach(t.Context(), "n", "c", "eth0"); err != nil {
		t.Fatal(err)
	}
	r.attach("n", "c", shim.AttachRequest{})
	r.nothingLeft(before)
}

// TestCaptureEnds has captures end with their reader, and too many refused.
func TestCaptureEnds(t *testing.T) {
	r := start(t, config(newDirs(t)))
	r.attach("n", "c", shim.AttachRequest{})
	before := r.census()
	ctx, cancel := context.WithCancel(t.Context())
	var open []io.Closer
	for range relay.MaxTees {
		in, err := r.Capture(ctx, "n", "c", "eth0", shim.CaptureOptions{})
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, in)
	}
	if _, err := r.Capture(ctx, "n", "c", "eth0", shim.CaptureOptions{}); shim.CodeOf(err) != shim.CodeExhausted {
		t.Errorf("one too many: %v", err)
	}
	cancel()
	for _, in := range open {
		in.Close()
	}
	r.nothingLeft(before)
	in, err := r.Capture(t.Context(), "n", "c", "eth0", shim.CaptureOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = io.Copy(io.Discard, in) })
	r.stop() // the shim does not wait for its readers
	wg.Wait()
	in.Close()
}

// TestEvents follows an attachment through its life.
func TestEvents(t *testing.T) {
	r := start(t, config(newDirs(t)))
	in, err := r.Events(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	d := json.NewDecoder(in)
	want := func(kind string, detail string) {
		t.Helper()
		var e shim.Event
		for {
			e = shim.Event{}
			if err := d.Decode(&e); err != nil {
				t.Fatal(err)
			}
			// The runts may fall into two seconds, and be two events; that the guest has
			// gone may be noticed before it is detached.
			if e.Type == kind || e.Type != shim.EventDrops && e.Type != shim.EventGuestGone {
				break
			}
		}
		if e.Type != kind || detail != "" && e.Detail[detail] == "" || time.Since(e.Time) > time.Minute {
			t.Fatalf("event %+v, want %s with %s", e, kind, detail)
		}
	}
	want(shim.EventShim, "")
	r.attach("n", "c", shim.AttachRequest{})
	want(shim.EventNetwork, "subnet")
	want(shim.EventAttached, "ip")
	_, f, err := r.Frames(t.Context(), "n", "c", "eth0")
	if err != nil {
		t.Fatal(err)
	}
	want(shim.EventGuest, "via")
	want(shim.EventHandedOver, "kind")
	guest := conn(t, f)
	for range 300 { // runts
		if _, err := guest.Write([]byte("runt")); err != nil {
			t.Fatal(err)
		}
	}
	want(shim.EventDrops, "reason")
	guest.Close()
	if err := r.Detach(t.Context(), "n", "c", "eth0"); err != nil {
		t.Fatal(err)
	}
	want(shim.EventNetworkGone, "")
	want(shim.EventDetached, "")
	r.stop()
	want(shim.EventShimLeaves, "")
}
