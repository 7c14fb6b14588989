package relay_test

import (
	"os"
	"runtime/metrics"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/relay"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// A countedPort counts the reads of a port.
type countedPort struct {
	relay.Port
	reads *atomic.Int64
}

func (p countedPort) ReadBatch(bufs [][]byte, sizes []int) (int, error) {
	p.reads.Add(1)
	return p.Port.ReadBatch(bufs, sizes)
}

// schedulings returns how often goroutines have been scheduled since the process
// began.
func schedulings() (n uint64) {
	m := []metrics.Sample{{Name: "/sched/latencies:seconds"}}
	metrics.Read(m)
	for _, c := range m[0].Value.Float64Histogram().Counts {
		n += c
	}
	return n
}

// A runtime that dies closes the guest's end and says nothing. The relay notices,
// at once or with the first frame for the guest or when it is asked, says since
// when, and from then on does nothing but read what comes for nobody.
func TestPeerDies(t *testing.T) {
	for name, c := range map[string]struct {
		typ  int
		open func(*os.File, int) (relay.Port, error)
		find func(g *relay.Relay, m *mill)
	}{
		"stream":              {unix.SOCK_STREAM, relay.NewStreamPort, func(*relay.Relay, *mill) {}},
		"dgram, with a frame": {unix.SOCK_DGRAM, relay.NewDatagramPort, func(_ *relay.Relay, m *mill) { m.grind(1) }},
		"dgram, asked":        {unix.SOCK_DGRAM, relay.NewDatagramPort, func(r *relay.Relay, _ *mill) { r.CheckPeer() }},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMill(maxFrame)
			r, err := relay.New(vmnet.NewInterface("gone", m), relay.Config{})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			ours, theirs := socketpair(t, c.typ)
			p, err := c.open(ours, maxFrame)
			if err != nil {
				t.Fatal(err)
			}
			var reads atomic.Int64
			if name != "dgram, asked" { // which a counted one does not answer
				p = countedPort{p, &reads}
			}
			r.Attach(p, "fd")
			if i := r.Peer(); !i.Connected || !i.Gone.IsZero() {
				t.Errorf("connected: %+v", i)
			}
			theirs.Close()
			c.find(r, m)
			eventually(t, "the end", func() bool { return !r.Peer().Connected })
			if i := r.Peer(); i.Gone.IsZero() || i.Via != "" {
				t.Errorf("gone: %+v", i)
			}
			port, device := reads.Load(), m.reads.Load()
			// The collector, and what tests before this one left, have goroutines too,
			// which come to rest.
			eventually(t, "200 ms in which goroutines were scheduled 100 times at most", func() bool {
				before := schedulings()
				time.Sleep(200 * time.Millisecond) // what is measured, not a wait for something
				return schedulings()-before <= 100
			})
			if n := reads.Load() - port; n > 1 { // the last one ends with the port
				t.Errorf("%d reads of the port that was closed", n)
			}
			if n := m.reads.Load() - device; n > 1 { // the one with which the pump ends, likewise
				t.Errorf("%d reads of the interface, where nothing waits", n)
			}
			m.grind(1000)
			eventually(t, "1000 frames for nobody counted", func() bool { return r.Stats().ToGuest.Drops["no-peer"] == 1000 })
			if n := m.reads.Load() - device; n > 1000/64+16 {
				t.Errorf("%d reads for 1000 frames for nobody", n)
			}
		})
	}
}
