package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/internal/leak"
	"github.com/vmnet-cni/vmnet/internal/tempdir"
)

func TestMain(m *testing.M) {
	leak.Main(m, func() {
		if built {
			if dir, err := bin(); err == nil {
				_ = os.RemoveAll(dir)
			}
		}
	})
}

// An outcome is what a call of the plugin left for the runtime.
type outcome struct {
	code   int
	stdout string
	stderr string
}

// runIn runs a verb with the surroundings given.
func runIn(ctx context.Context, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return (&call{ctx: ctx, environ: environ, guarded: func() {}}).run(stdin, stdout, stderr)
}

// runVerb runs a verb in this process. Variables of env with the value "-" are not
// set.
func runVerb(t testing.TB, verb string, env map[string]string, stdin io.Reader) outcome {
	t.Helper()
	vars := map[string]string{"CNI_COMMAND": verb, "CNI_CONTAINERID": "vm1", "CNI_IFNAME": "eth0", "CNI_NETNS": "vm://vm1"}
	maps.Copy(vars, env)
	maps.DeleteFunc(vars, func(_, value string) bool { return value == "-" })
	var environ []string
	for key, value := range vars {
		environ = append(environ, key+"="+value)
	}
	var stdout, stderr bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	code := runIn(ctx, environ, stdin, &stdout, &stderr)
	return outcome{code, stdout.String(), stderr.String()}
}

// conf returns a configuration that uses the socket, with the given keys added
// or replaced; nil removes one, and the socket of shim.
func conf(t testing.TB, socket string, keys map[string]any) string {
	t.Helper()
	c := map[string]any{
		"cniVersion": "1.1.0", "name": "shared", "type": "vmnet",
		"shim": map[string]any{"address": socket, "spawn": false, "timeout": "60s"},
	}
	for k, v := range keys {
		switch {
		case v == nil && k == "shim": // the one of this machine
			c[k] = map[string]any{"timeout": "60s"}
		case v == nil:
			delete(c, k)
		default:
			c[k] = v
		}
	}
	out, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// raw is a piece of JSON for conf.
func raw(s string) json.RawMessage { return json.RawMessage(s) }

// oneDocument decodes stdout and fails unless it is exactly one JSON object.
func oneDocument(t testing.TB, stdout string, v any) {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(stdout))
	if err := dec.Decode(v); err != nil {
		t.Fatalf("stdout %q: %v", stdout, err)
	}
	if _, err := dec.Token(); err != io.EOF {
		t.Fatalf("stdout %q: more than one document", stdout)
	}
}

// emptyDirs gives this process directories of its own, so that nothing on the
// machine matters, and returns them.
func emptyDirs(t testing.TB) (runtime, state string) {
	t.Helper()
	dir, err := tempdir.Make("vmn")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	runtime, state = filepath.Join(dir, "run"), filepath.Join(dir, "state")
	t.Setenv("VMNET_RUNTIME_DIR", runtime)
	t.Setenv("VMNET_STATE_DIR", state)
	return runtime, state
}

// openFDs counts the descriptors of this process.
func openFDs(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/dev/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// files lists everything below dir.
func files(t testing.TB, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil
		}
		all = append(all, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
