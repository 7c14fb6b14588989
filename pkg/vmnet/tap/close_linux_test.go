package tap_test

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/vmnet-cni/vmnet/internal/ownns"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// TestStartWhileClosing closes a network while devices of it are being started: each
// is refused, or closed with the network, and nothing of it is left.
func TestStartWhileClosing(t *testing.T) {
	ownns.Needs(t)
	for range 10 {
		n := open(t, newDriver(t), vmnet.NetworkConfig{Layer2: true})
		var starts sync.WaitGroup
		for range 3 {
			starts.Go(func() {
				d, err := n.Start(t.Context(), vmnet.Config{})
				if err != nil && !errors.Is(err, vmnet.ErrClosed) {
					t.Error(err)
				}
				if err == nil {
					_, err = d.WriteBatch([][]byte{make([]byte, 60)})
					if err != nil && !errors.Is(err, vmnet.ErrClosed) {
						t.Error(err)
					}
				}
			})
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
		starts.Wait()
	}
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if strings.HasPrefix(l.Attrs().Name, "vm") {
			t.Errorf("%s is left", l.Attrs().Name)
		}
	}
}
