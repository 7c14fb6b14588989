package boltstore_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/ipam/boltstore"
	"github.com/vmnet-cni/vmnet/pkg/ipam/ipamtest"
)

// childEnv makes the test binary the process that is killed; its value is the
// path of the file.
const childEnv = "VMNET_TEST_BOLTSTORE_CHILD"

// kills is how often the child is killed.
const kills = 500

// childMain does not return in the child: it allocates and releases until it is
// killed, and prints each lease that it has or gave back, after the fact.
func childMain() {
	path := os.Getenv(childEnv)
	if path == "" {
		return
	}
	after := time.Duration(os.Getpid()%2) * time.Millisecond // one of two syncs late
	s, err := boltstore.Open(path, boltstore.Config{SyncAfter: after, OnDamage: func(d boltstore.Damage) { fmt.Println("damage", d.Err) }})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	a := ipam.New(s, ipam.Config{})
	fmt.Println("open")
	for rnd := rand.New(rand.NewPCG(uint64(os.Getpid()), 1)); ; {
		id := fmt.Sprint(rnd.IntN(20))
		if rnd.IntN(2) == 0 {
			lease, err := a.Allocate(context.Background(), ipam.Request{Key: ipamtest.Key(id), Pools: []ipam.Pool{killPool()}})
			report("add", id, lease.Addr(), err)
		} else {
			report("del", id, netip.Prefix{}, a.Release(context.Background(), ipamtest.Key(id)))
		}
	}
}

func report(op, id string, addr netip.Prefix, err error) {
	if err != nil && !errors.Is(err, ipam.ErrExhausted) {
		fmt.Println("error", err)
		os.Exit(1)
	}
	if err == nil {
		fmt.Println(op, id, addr)
	}
}

func killPool() ipam.Pool {
	return ipam.SubnetPool("small", netip.MustParsePrefix("192.0.2.0/28"), netip.Addr{})
}

// TestKill kills a process that allocates and releases at random instants. The
// file must open each time, be whole, and hold what the process said it had
// done; the one operation under way may or may not have happened.
func TestKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "leases.db")
	held := map[string]string{}
	done := 0
	for range kills {
		lines := runAndKill(t, path, rand.IntN(40), time.Duration(rand.IntN(2000))*time.Microsecond)
		for _, line := range lines {
			var op, id, addr string
			if n, _ := fmt.Sscan(line, &op, &id, &addr); n != 3 || op != "add" && op != "del" {
				t.Fatalf("child: %s", line)
			}
			done++
			if delete(held, id); op == "add" {
				held[id] = addr
			}
		}
		held = checkFile(t, path, held)
		if t.Failed() {
			return
		}
	}
	if aside, _ := filepath.Glob(path + ".damaged-*"); len(aside) > 0 {
		t.Errorf("set aside: %v", aside)
	}
	t.Logf("%d kills, %d operations", kills, done)
	if done < kills {
		t.Errorf("only %d operations between %d kills", done, kills)
	}
}

// runAndKill starts the child, kills it some time after it printed that many
// lines, and returns all that it printed but the first. After no line at all it
// may still be opening the file.
func runAndKill(t *testing.T, path string, after int, delay time.Duration) []string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var timer *time.Timer
	var lines []string
	scan := bufio.NewScanner(out)
	for n := 0; n == 0 || scan.Scan(); n++ {
		if line := scan.Text(); n == 1 && line != "open" {
			t.Errorf("child: %q", line)
		} else if n > 1 {
			lines = append(lines, line)
		}
		if n == after {
			timer = time.AfterFunc(delay, func() { _ = cmd.Process.Kill() })
		}
	}
	if timer != nil {
		timer.Stop()
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("child ended by itself: %v, %q", err, lines)
	}
	return lines
}

// checkFile opens the file, which checks it, and compares it with what must be
// held but for one operation. It returns what is held.
func checkFile(t *testing.T, path string, held map[string]string) map[string]string {
	t.Helper()
	a := ipam.New(open(t, path, boltstore.Config{}), ipam.Config{})
	leases, err := a.List(context.Background(), "small")
	if err != nil {
		t.Fatal(err)
	}
	now, by := map[string]string{}, map[string]string{}
	differ := 0
	for _, l := range leases {
		addr := l.Addr().String()
		if by[addr] != "" {
			t.Errorf("%s is held by %s and %s", addr, by[addr], l.ContainerID)
		}
		now[l.ContainerID], by[addr] = addr, l.ContainerID
		if held[l.ContainerID] != addr {
			differ++
		}
	}
	for id := range held {
		if now[id] == "" {
			differ++
		}
	}
	if differ > 1 {
		t.Errorf("file holds %v, the process said %v", now, held)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	return now
}
