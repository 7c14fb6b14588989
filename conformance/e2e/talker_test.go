package e2e_test

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/vmnet-cni/vmnet/conformance/guest"
	"github.com/vmnet-cni/vmnet/pkg/relay"
)

// An ear notes what a guest hears.
type ear struct {
	who string

	mu      sync.Mutex // guards all following
	sent    time.Time  // when the latest of what came was sent
	came    time.Time  // when it came
	longest time.Duration
}

// note says that something came which was sent then.
func (e *ear) note(sent time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	e.longest = max(e.longest, now.Sub(e.came))
	e.came = now
	if sent.After(e.sent) {
		e.sent = sent
	}
}

// listen begins to measure silence.
func (e *ear) listen() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.came, e.longest = time.Now(), 0
}

// silence returns the longest time without a word since listen.
func (e *ear) silence() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.longest
}

// hears waits until something has come that was sent after from.
func (e *ear) hears(t testing.TB, from time.Time) {
	t.Helper()
	heard := func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.sent.After(from)
	}
	for !heard() {
		if time.Since(from) > 30*time.Second {
			t.Fatalf("guest %s heard nothing for 30 s", e.who)
		}
		time.Sleep(time.Millisecond)
	}
}

// A talker is a guest that sends a frame with the time to another every few
// milliseconds, and notes what it hears.
type talker struct {
	ear
	port relay.Port
	mac  net.HardwareAddr
	to   net.HardwareAddr
	stop chan struct{}
	wg   sync.WaitGroup
}

func newTalker(t testing.TB, port relay.Port, r *types100.Result) *talker {
	t.Helper()
	mac, err := net.ParseMAC(r.Interfaces[0].Mac)
	if err != nil {
		t.Fatal(err)
	}
	return &talker{ear: ear{who: mac.String()}, port: port, mac: mac, stop: make(chan struct{})}
}

// talk starts two talkers.
func talk(a, b *talker) {
	a.to, b.to = b.mac, a.mac
	for _, k := range []*talker{a, b} {
		k.wg.Go(k.send)
		k.wg.Go(k.hear)
	}
}

func (k *talker) send() {
	f := make([]byte, 60+rand.IntN(900))
	copy(f, k.to)
	copy(f[6:], k.mac)
	f[12], f[13] = 0x88, 0xb5 // IEEE 802, local experiment
	for tick := time.NewTicker(2 * time.Millisecond); ; {
		select {
		case <-k.stop:
			tick.Stop()
			return
		case <-tick.C:
			binary.BigEndian.PutUint64(f[14:], uint64(time.Now().UnixNano()))
			_, _ = k.port.WriteBatch([][]byte{f}) // refused or full: the next one goes
		}
	}
}

func (k *talker) hear() {
	buf := [][]byte{make([]byte, 65536)}
	var size [1]int
	for {
		n, err := k.port.ReadBatch(buf, size[:])
		if err != nil {
			return
		}
		if n == 1 && size[0] >= 22 && buf[0][12] == 0x88 && buf[0][13] == 0xb5 && string(buf[0][6:12]) == string(k.to) {
			k.note(time.Unix(0, int64(binary.BigEndian.Uint64(buf[0][14:]))))
		}
	}
}

func (k *talker) end() {
	close(k.stop)
	_ = k.port.Close()
	k.wg.Wait()
}

// A pinger notes what comes back of what a guest sends to another's address.
type pinger struct {
	ear
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// ping has g ask every few milliseconds until end.
func ping(g *guest.Guest, who string, to netip.Addr) *pinger {
	ctx, cancel := context.WithCancel(context.Background())
	p := &pinger{ear: ear{who: who}, cancel: cancel}
	p.wg.Go(func() {
		for tick := time.NewTicker(10 * time.Millisecond); ; {
			select {
			case <-ctx.Done():
				tick.Stop()
				return
			case <-tick.C:
				p.wg.Go(func() { p.ask(ctx, g, to) })
			}
		}
	})
	return p
}

func (p *pinger) ask(ctx context.Context, g *guest.Guest, to netip.Addr) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	sent := time.Now()
	if _, err := g.Ping(ctx, to); err == nil { // what is lost is silence
		p.note(sent)
	}
}

func (p *pinger) end() {
	p.cancel()
	p.wg.Wait()
}
