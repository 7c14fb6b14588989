package shim

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/vmnet-cni/vmnet/pkg/handover"
)

// What the shim refuses is a fault, and not an absence that passes.
func TestGiveRefused(t *testing.T) {
	path := socketIn(t)
	l, err := Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", r.Header.Get("Upgrade"))
		_, f, err := handover.Receive(t.Context(), conn.(*net.UnixConn))
		if err != nil {
			t.Error(err)
			return
		}
		f.Close()
		if err := handover.Answer(t.Context(), conn.(*net.UnixConn), errors.New("offload true: the attachment's is false")); err != nil {
			t.Error(err)
		}
	})}
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(l) })
	defer wg.Wait()
	defer srv.Close()
	guest, host, err := handover.Pair(handover.KindDgram, 1514, false)
	if err != nil {
		t.Fatal(err)
	}
	defer guest.Close()
	defer host.Close()
	c := NewClient(path)
	defer c.Close()
	a := Attachment{Network: "n", ContainerID: "c", IfName: "eth0", MAC: "02:00:00:00:00:01", MTU: 1500, MaxFrameSize: 1514}
	err = c.Give(t.Context(), a, guest)
	if CodeOf(err) != CodeInternal || !errors.As(err, new(*handover.RefusedError)) || !strings.Contains(fmt.Sprint(err), "give n/c/eth0: refused: offload true") {
		t.Errorf("%v (%s): want the shim's refusal, %s", err, CodeOf(err), CodeInternal)
	}
}
