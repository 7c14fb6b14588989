package e2e_test

import (
	"bytes"
	"context"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/conformance/vm"
	"github.com/vmnet-cni/vmnet/conformance/vm/vmtest"
	"github.com/vmnet-cni/vmnet/internal/require"
)

// TestReconnect has a real guest whose QEMU connects again: socket_vmnet goes and comes
// back, and the guest, which notices nothing but the pause, goes on with its address.
// Debian 12's QEMU is too old; the need's name is "qemu8".
func TestReconnect(t *testing.T) {
	vmtest.Need(t)
	if !vm.Reconnects() {
		require.Missing(t, "qemu8", "this test needs QEMU 8.0 or newer first in PATH: older ones do not connect again")
	}
	m := newMachine(t, nil)
	dir := t.TempDir()
	socket := dir + "/socket_vmnet.shared"
	start := func() *daemon {
		d := startDaemon(t, m, dropin(t, "socket_vmnet"), limaArgs(t, dir)...)
		listens(t, socket)
		return d
	}
	d := start()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	const ping = "ping -c 1 -W 1 192.168.105.1"
	var console bytes.Buffer
	g, err := vm.Start(ctx, vm.Config{
		StreamPath: socket, Reconnect: true, MAC: net.HardwareAddr{0x52, 0x54, 0, 0x12, 0x34, 1}, Log: &console,
		Steps: []vm.Step{
			{Name: "before", Command: ping},
			{Name: "away", Command: "while " + ping + "; do sleep 1; done"},
			{Name: "back", Command: "until " + ping + "; do sleep 1; done"},
			{Name: "steady", Command: ping + " -c 5"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	await := func(what string) {
		t.Helper()
		if _, err := g.Await(ctx, what); err != nil {
			g.Close()
			t.Fatalf("%s: %v\n%s", what, err, console.String())
		}
	}
	await("step before ok")
	d.end(t, syscall.SIGTERM)
	await("step away ok")
	start()
	for _, what := range []string{"step back ok", "step steady ok", "done"} {
		await(what)
	}
	if err := g.Wait(ctx); err != nil {
		t.Error(err)
	}
}
