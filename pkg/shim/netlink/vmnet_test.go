package netlink

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/vmnet-cni/vmnet/internal/tempdir"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// fakeShim answers for one attachment, and keeps what it was asked.
func fakeShim(t *testing.T) (*shim.Client, *shim.AttachRequest) {
	t.Helper()
	dir, err := tempdir.Make("nl") // short: the path of a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	const path = " /v1/networks/shared/attachments/vm1/eth0"
	var asked shim.AttachRequest
	there := false
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter) {
		if !there {
			w.WriteHeader(http.StatusNotFound)
			_ = json.NewEncoder(w).Encode(&shim.Error{Code: shim.CodeNotFound, Message: "no attachment"})
			return
		}
		_ = json.NewEncoder(w).Encode(shim.Attachment{MAC: "02:00:00:00:00:07", MTU: 1450, SocketPath: "/s"})
	}
	mux.HandleFunc("PUT"+path, func(w http.ResponseWriter, r *http.Request) {
		there = json.NewDecoder(r.Body).Decode(&asked) == nil
		answer(w)
	})
	mux.HandleFunc("GET"+path, func(w http.ResponseWriter, _ *http.Request) { answer(w) })
	mux.HandleFunc("DELETE"+path, func(w http.ResponseWriter, _ *http.Request) { there = false; w.WriteHeader(http.StatusNoContent) })
	s := httptest.NewUnstartedServer(mux)
	s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	c := shim.NewClient(l.Addr().String())
	t.Cleanup(func() { c.Close() })
	return c, &asked
}

// TestVmnet makes a link by the shim, and ends it.
func TestVmnet(t *testing.T) {
	client, asked := fakeShim(t)
	v := &Vmnet{LinkAttrs: LinkAttrs{Name: "eth0", MTU: 1400}, Network: "shared", ContainerID: "vm1", Client: client}
	v.HardwareAddr = net.HardwareAddr{2, 0, 0, 0, 0, 9}
	if err := LinkAdd(v); err != nil {
		t.Fatal(err)
	}
	if asked.MAC != "02:00:00:00:00:09" || asked.Network.MTU != 1400 || asked.Network.Name != "shared" {
		t.Errorf("asked for %+v", asked)
	}
	if v.Type() != "vmnet" || v.Attrs().MTU != 1450 || v.HardwareAddr.String() != "02:00:00:00:00:07" || v.Attachment.SocketPath != "/s" {
		t.Errorf("%+v", v)
	}
	if err := LinkDel(v); err != nil {
		t.Error(err)
	}
	var gone LinkNotFoundError
	if err := LinkDel(v); !errors.As(err, &gone) {
		t.Errorf("second delete: %v", err)
	}
	v.Client = shim.NewClient(filepath.Join(t.TempDir(), "none"))
	defer v.Client.Close()
	if err := LinkAdd(v); !errors.Is(err, shim.ErrNotRunning) {
		t.Errorf("no shim: %v", err)
	}
}
