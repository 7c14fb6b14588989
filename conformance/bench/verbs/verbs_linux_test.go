package verbs_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/internal/reference"
	"github.com/vmnet-cni/vmnet/internal/require"
)

// A subject is a plugin with what it is executed with.
type subject struct {
	name   string // also of its network
	plugin string // path
	netns  string // CNI_NETNS
	config map[string]any
	env    []string
	socket string // of the shim
}

// stdin returns the configuration of the verb; prev is the result of ADD, if any.
func (s subject) stdin(prev []byte) []byte {
	conf := map[string]any{"cniVersion": "1.1.0", "name": s.name}
	for k, v := range s.config {
		conf[k] = v
	}
	if prev != nil {
		conf["prevResult"] = json.RawMessage(prev)
	}
	raw, err := json.Marshal(conf)
	if err != nil {
		panic(err) // maps of texts
	}
	return raw
}

// run executes the plugin, or cnitool for it, and returns stdout and the time.
func (s subject) run(b *testing.B, id, verb string, stdin []byte, argv ...string) (out []byte, took time.Duration) {
	b.Helper()
	ifname := "eth0"
	if id == neighbour { // in the same namespace
		ifname = "eth9"
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &stdout, &stderr
	cmd.Env = append(s.env, "CNI_COMMAND="+verb, "CNI_CONTAINERID="+id, "CNI_NETNS="+s.netns, "CNI_IFNAME="+ifname,
		"CNI_PATH="+filepath.Dir(s.plugin)+":"+os.Getenv("REFERENCE"))
	start := time.Now()
	err := cmd.Run()
	took = time.Since(start)
	if err != nil {
		b.Fatalf("%s %s: %v: %s%s", s.name, verb, err, &stdout, &stderr)
	}
	return stdout.Bytes(), took
}

// neighbour is the container that each network has all the while.
const neighbour = "neighbour"

// times are samples by what was measured.
type times map[string][]time.Duration

func (t times) median(what string) time.Duration {
	all := slices.Sorted(slices.Values(t[what]))
	if len(all) == 0 {
		return 0
	}
	return all[len(all)/2]
}

// direct times the plugin's verbs as a runtime executes them.
func (s subject) direct(b *testing.B, t times) {
	one := func(verb string, prev []byte) []byte {
		out, took := s.run(b, "bench", verb, s.stdin(prev), s.plugin)
		t["direct "+verb+" "+s.name] = append(t["direct "+verb+" "+s.name], took)
		return out
	}
	one("VERSION", nil)
	one("STATUS", nil)
	result := one("ADD", nil)
	one("CHECK", result)
	one("DEL", result)
}

// throughTool times the same through cnitool.
func (s subject) throughTool(b *testing.B, t times, tool string) {
	for _, verb := range []string{"status", "add", "check", "del"} {
		_, took := s.run(b, "", "", nil, tool, verb, s.name, s.netns)
		t["cnitool "+verb+" "+s.name] = append(t["cnitool "+verb+" "+s.name], took)
	}
}

// BenchmarkVerbs times every verb of the plugin beside bridge with host-local, in
// turns, in a network namespace of its own. Each network has another container all
// the while, as on a machine at work: neither bridge nor network is made anew. Beside
// that it times an ADD that finds no shim and starts one. An iteration is one of each.
// It prints a table of medians.
func BenchmarkVerbs(b *testing.B) {
	require.Root(b)
	require.NetNS(b)
	bin := reference.Install(b, reference.CNITool, reference.Plugins+"main/bridge"+reference.Version, reference.Plugins+"ipam/host-local"+reference.Version)
	b.Setenv("REFERENCE", bin)
	runtime.LockOSThread() // and never unlocked: the thread ends with the benchmark
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		b.Fatal(err)
	}
	dir := build(b)
	subjects := []subject{ours(b, dir), bridge(b, bin)}
	cold := ours(b, dir)
	for _, s := range subjects {
		s.run(b, neighbour, "ADD", s.stdin(nil), s.plugin)
		defer s.run(b, neighbour, "DEL", s.stdin(nil), s.plugin)
	}
	t := times{}
	for b.Loop() {
		for _, s := range subjects {
			s.direct(b, t)
		}
		for _, s := range subjects {
			s.throughTool(b, t, filepath.Join(bin, "cnitool"))
		}
		t["first"] = append(t["first"], cold.first(b))
		for _, program := range []string{"/bin/true", filepath.Join(dir, "hello")} {
			_, took := subjects[0].run(b, "", "", nil, program)
			t[filepath.Base(program)] = append(t[filepath.Base(program)], took)
		}
	}
	fmt.Print(t.table(b)) // b.Log cuts it short
}

// table prints the medians and the ratios, and reports those that have a goal.
func (t times) table(b *testing.B) string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\nmedian of %d\tvmnet, ms\tbridge + host-local, ms\tratio\t\n", len(t["true"]))
	for _, what := range []string{"direct VERSION", "direct STATUS", "direct ADD", "direct CHECK", "direct DEL", "cnitool status", "cnitool add", "cnitool check", "cnitool del"} {
		v, o := t.median(what+" vmnet"), t.median(what+" bridge")
		fmt.Fprintf(w, "%s\t%.2f\t%.2f\t%.2f\t\n", what, ms(v), ms(o), ms(v)/ms(o))
		if what == "direct ADD" || what == "direct DEL" {
			b.ReportMetric(ms(v)/ms(o), strings.TrimPrefix(what, "direct ")+":bridge")
		}
	}
	first, add := ms(t.median("first")), ms(t.median("direct ADD bridge"))
	b.ReportMetric(first/add, "first-ADD:bridge")
	fmt.Fprintf(w, "ADD with the start of the shim : warm ADD\t%.2f\t%.2f\t%.2f\t\n", first, add, first/add)
	status := ms(t.median("direct STATUS vmnet")) / ms(t.median("direct VERSION vmnet"))
	b.ReportMetric(status, "STATUS:VERSION")
	fmt.Fprintf(w, "/bin/true\t%.2f\t\t\t\nSTATUS : VERSION\t%.2f\t\t\t\n", ms(t.median("true")), status)
	fmt.Fprintf(w, "Go program that writes a line\t%.2f\t\t\t\n", ms(t.median("hello")))
	_ = w.Flush() // to memory
	return text.String()
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// bridge is the bridge plugin with host-local, in a namespace.
func bridge(b *testing.B, bin string) subject {
	b.Helper()
	dir := b.TempDir()
	s := subject{
		name: "bridge", plugin: filepath.Join(bin, "bridge"), netns: namespace(b),
		config: map[string]any{"type": "bridge", "bridge": "bench0", "isGateway": true,
			"ipam": map[string]any{"type": "host-local", "dataDir": dir, "subnet": "10.91.0.0/24"}},
		env: []string{"NETCONFPATH=" + dir},
	}
	s.list(b, dir)
	return s
}

// namespace makes a network namespace that is there while the benchmark runs.
func namespace(b *testing.B) string {
	b.Helper()
	type made struct {
		file *os.File
		err  error
	}
	done := make(chan made)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- made{nil, err}
			return
		}
		f, err := os.Open("/proc/thread-self/ns/net")
		done <- made{f, err}
	}()
	m := <-done
	if m.err != nil {
		b.Fatal(m.err)
	}
	b.Cleanup(func() { _ = m.file.Close() })
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), m.file.Fd())
}

// list writes the conflist that cnitool reads.
func (s subject) list(b *testing.B, dir string) {
	b.Helper()
	raw, err := json.Marshal(map[string]any{"cniVersion": "1.1.0", "name": s.name, "plugins": []any{s.config}})
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "10-"+s.name+".conflist"), raw, 0o600)
	}
	if err != nil {
		b.Fatal(err)
	}
}
