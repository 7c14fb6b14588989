package e2e_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/conformance/e2e"
	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// TestScale makes many attachments on ten networks of one shim, VMNET_SCALE_ATTACHMENTS
// of them (60 when it is not set), half of them with a peer, and looks at what the last
// costs beside the first, at the memory and the idle time of the shim, and at how long
// the operator's requests take. Times are judged only in a long run, which somebody
// asked for.
func TestScale(t *testing.T) {
	count := 60
	if v := os.Getenv("VMNET_SCALE_ATTACHMENTS"); v != "" {
		var err error
		if count, err = strconv.Atoi(v); err != nil {
			t.Fatalf("VMNET_SCALE_ATTACHMENTS %q: want a number", v)
		}
	}
	m := newMachine(t, nil)
	if _, err := m.Add(soon(t), "first", "vm://first"); err != nil { // starts the shim
		t.Fatal(err)
	}
	s := &scaled{T: t, m: m, count: count}
	s.attach(10) // what is made once
	before := s.memory()
	took := s.attach(count)
	each := (s.memory() - before) / (count - 10)
	t.Logf("%d attachments: %d KiB of resident memory each", count, each>>10)
	if limit := 300 << 10; each > limit {
		t.Errorf("%d bytes of resident memory each, want at most %d", each, limit)
	}
	const most = 100 * time.Millisecond
	busy := s.idle(time.Second)
	for end := time.Now().Add(time.Minute); busy > most && time.Now().Before(end); { // it has work left on a busy machine
		busy = s.idle(time.Second)
	}
	t.Logf("idle for a second: %v of processor time", busy)
	if busy > most {
		t.Errorf("idle for a second took %v of processor time", busy)
	}
	early, late := median(took[:len(took)/10+1]), median(took[len(took)-len(took)/10-1:])
	t.Logf("ADD in the shim: the first tenth %v, the last %v, ratio %.2f", early, late, float64(late)/float64(early))
	if count >= 1000 && float64(late) > 1.3*float64(early) {
		t.Errorf("the last ADDs took %v, the first %v: want at most 1.3 times as long", late, early)
	}
	s.requests()
	s.remove()
	detach(t, m, "first", nil)
}

type scaled struct {
	*testing.T
	m     *e2e.Machine
	count int
	made  int
	peers []*os.File
}

func (s *scaled) network(i int) string { return "scale" + strconv.Itoa(i%10) }

// attach makes attachments until there are n, and returns how long each took.
func (s *scaled) attach(n int) (took []time.Duration) {
	s.Helper()
	for ; s.made < n; s.made++ {
		id := "c" + strconv.Itoa(s.made)
		start := time.Now()
		a, err := s.m.Client.Attach(soon(s), s.network(s.made), id, e2e.IfName, shim.AttachRequest{Network: shim.NetworkSpec{Mode: vmnet.Shared}})
		if err != nil {
			s.Fatal(err)
		}
		took = append(took, time.Since(start))
		if s.made%2 == 0 {
			_, f, err := s.m.Client.Frames(soon(s), a.Network, a.ContainerID, a.IfName)
			if err != nil {
				s.Fatal(err)
			}
			s.peers = append(s.peers, f)
		}
	}
	return took
}

func (s *scaled) pid() int {
	s.Helper()
	st, err := s.m.Client.Status(soon(s))
	if err != nil {
		s.Fatal(err)
	}
	return st.PID
}

// memory returns the shim's resident memory in bytes.
func (s *scaled) memory() int {
	s.Helper()
	return int(resident(s, s.pid()) * (1 << 20))
}

// idle returns the processor time that the shim takes in d.
func (s *scaled) idle(d time.Duration) time.Duration {
	s.Helper()
	pid := s.pid()
	time.Sleep(200 * time.Millisecond) // what the attaching left to do
	before := processorTime(s, pid)
	time.Sleep(d)
	return processorTime(s, pid) - before
}

// requests tells how long the operator's requests take.
func (s *scaled) requests() {
	s.Helper()
	for name, do := range map[string]func() error{
		"ls": func() error {
			l, err := s.m.Client.Attachments(soon(s))
			if err == nil && len(l) != s.count+1 {
				err = fmt.Errorf("%d attachments, want %d", len(l), s.count+1)
			}
			return err
		},
		"metrics": func() error {
			c := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", s.m.Dirs.ShimSocket())
			}}}
			r, err := c.Get("http://shim/metrics")
			if err != nil {
				return err
			}
			defer r.Body.Close()
			_, err = io.Copy(io.Discard, r.Body)
			return err
		},
	} {
		start := time.Now()
		if err := do(); err != nil {
			s.Error(name, err)
		}
		d := time.Since(start)
		s.Logf("%s: %v", name, d)
		if s.count >= 1000 && d > 2*time.Second {
			s.Errorf("%s took %v", name, d)
		}
	}
}

// remove has GC remove everything.
func (s *scaled) remove() {
	s.Helper()
	start := time.Now()
	for i := range 10 {
		if _, err := s.m.Client.GC(soon(s), s.network(i), nil); err != nil {
			s.Error(err)
		}
	}
	s.Logf("gc of everything: %v", time.Since(start))
	for _, f := range s.peers {
		f.Close()
	}
}

func median(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2]
}

// processorTime returns what a process has taken, in ticks of 10 ms
// (proc_pid_stat(5), fields 14 and 15).
func processorTime(t testing.TB, pid int) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Skip(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	var ticks int
	for _, f := range strings.Fields(rest)[11:13] {
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
