package docs_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/conformance/docs"
	"github.com/vmnet-cni/vmnet/conformance/e2e"
	"github.com/vmnet-cni/vmnet/internal/leak"
	"github.com/vmnet-cni/vmnet/internal/require"
	"github.com/vmnet-cni/vmnet/internal/tempdir"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// bin holds the programs, built once for all tests.
var bin string

func TestMain(m *testing.M) {
	dir, remove, err := e2e.Build(false, "github.com/vmnet-cni/vmnet/conformance/demo",
		"github.com/vmnet-cni/vmnet/conformance/guest/cmd/vmnet-guest", "github.com/vmnet-cni/vmnet/examples/handover")
	if err != nil {
		println(err.Error())
		os.Exit(1)
	}
	bin = dir
	leak.Main(m, remove)
}

// TestCommands runs what the pages show, page by page, each in a sandbox.
func TestCommands(t *testing.T) {
	used := map[unrunnable]bool{}
	for _, p := range pages(t) {
		t.Run(p.Path, func(t *testing.T) {
			var s *sandbox
			for _, b := range blocks(t, p) {
				if b.Language != "sh" && b.Language != "console" {
					if b.LooksLikeCommands() && b.Language == "" {
						t.Errorf("line %d: a block with commands is marked sh or console, and then run", b.Line)
					}
					continue
				}
				var script []docs.Command
				for _, c := range b.Commands() {
					if why, skip := skipped(p.Path, c.Text); skip {
						used[why] = true
						continue
					}
					if strings.Contains(c.Text, "sudo ") {
						t.Errorf("line %d: %s: nothing runs with sudo here; put it into the table", c.Line, c.Text)
						continue
					}
					script = append(script, c)
				}
				if len(script) == 0 {
					continue
				}
				if s == nil {
					s = newSandbox(t, p.Path)
				}
				s.block(t, b.Language, script)
			}
		})
	}
	for _, u := range unrun {
		if !used[u] {
			t.Errorf("%s: %q is in the table of what does not run, and on no page", u.page, u.command)
		}
		if u.proof != "" && !hasTest(t, u.proof) {
			t.Errorf("%s: %q: no test %s", u.page, u.command, u.proof)
		}
	}
}

// skipped looks a command up in the table of those that do not run.
func skipped(page, command string) (unrunnable, bool) {
	i := slices.IndexFunc(unrun, func(u unrunnable) bool { return u.page == page && strings.HasPrefix(command, u.command) })
	if i < 0 {
		return unrunnable{}, false
	}
	return unrun[i], true
}

// hasTest reports whether "path TestName" is there.
func hasTest(t *testing.T, proof string) bool {
	t.Helper()
	dir, name, _ := strings.Cut(proof, " ")
	files, err := filepath.Glob(filepath.Join(root, dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(files, func(f string) bool {
		data, err := os.ReadFile(f)
		return err == nil && bytes.Contains(data, []byte("\nfunc "+name+"("))
	})
}

// A sandbox is a working directory with the repository's files, and directories of
// its own for everything else.
type sandbox struct {
	dir, cwd string
	env      []string
}

// newSandbox makes one for a page and runs the page's set-up.
func newSandbox(t *testing.T, page string) *sandbox {
	t.Helper()
	dir, err := tempdir.Make("vmnet-docs-")
	if err != nil {
		t.Fatal(err)
	}
	s := &sandbox{dir: dir, cwd: filepath.Join(dir, "work", filepath.Dir(page))}
	dirs := shim.Dirs{Runtime: filepath.Join(dir, "run/vmnet"), State: filepath.Join(dir, "state")}
	t.Cleanup(func() { s.end(t, dirs) })
	for _, d := range []string{"home", "run", "state", "tmp"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"examples", "docs", "packaging", "plugins", "conformance"} {
		if err := os.CopyFS(filepath.Join(dir, "work", name), os.DirFS(filepath.Join(root, name))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(bin, filepath.Join(dir, "work/bin")); err != nil {
		t.Fatal(err)
	}
	s.env = append(os.Environ(), "HOME="+dir+"/home", "TMPDIR="+dir+"/tmp", "XDG_RUNTIME_DIR="+dir+"/run", "NO_COLOR=1", "TERM=dumb",
		"VMNET_RUNTIME_DIR="+dirs.Runtime, "VMNET_STATE_DIR="+dirs.State, "PATH="+bin+":"+os.Getenv("PATH"))
	if script := setup[page]; script != "" {
		if out, err := s.run(script); err != nil {
			t.Fatalf("set up: %v: %s", err, out)
		}
	}
	return s
}

// end stops the shim, if one runs, and removes everything.
func (s *sandbox) end(t *testing.T, dirs shim.Dirs) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := shim.NewClient(dirs.ShimSocket())
	defer c.Close()
	if st, err := c.Status(ctx); err == nil {
		_ = syscall.Kill(st.PID, syscall.SIGTERM) // it may have gone in this moment
		for e2e.Running(st.PID) && ctx.Err() == nil {
			select {
			case <-ctx.Done():
				t.Errorf("the shim %d does not end", st.PID)
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	if err := os.RemoveAll(s.dir); err != nil {
		t.Error(err)
	}
}

// run runs a script and returns all that it prints.
func (s *sandbox) run(script string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-ec", script)
	cmd.Dir, cmd.Env, cmd.WaitDelay = s.cwd, s.env, 30*time.Second // more than a machine stalls
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// block runs the commands of a block: one script, or one by one with their output
// compared.
func (s *sandbox) block(t *testing.T, language string, list []docs.Command) {
	t.Helper()
	if language == "sh" {
		var script []string
		for _, c := range list {
			script = append(script, stand(t, c.Text))
		}
		if out, err := s.run(strings.Join(script, "\n")); err != nil {
			t.Errorf("line %d: %v\n%s\n%s", list[0].Line, err, strings.Join(script, "\n"), out)
		}
		return
	}
	for _, c := range list {
		want := 0
		if slices.Contains(fails, c.Text) {
			want = 1
		}
		out, err := s.run(stand(t, c.Text))
		code := 0
		if ee := (*exec.ExitError)(nil); errors.As(err, &ee) {
			code = ee.ExitCode()
		} else if err != nil {
			code = -1
		}
		if code != want {
			t.Errorf("line %d: %s: exit code %d, want %d:\n%s", c.Line, c.Text, code, want, out)
		}
		if c.Output != "" && !docs.Matches(c.Output, out) {
			t.Errorf("line %d: %s\nprints\n%s\nand the page shows\n%s", c.Line, c.Text, out, c.Output)
		}
	}
}

// stand returns what is run for a command.
func stand(t *testing.T, command string) string {
	t.Helper()
	if strings.HasPrefix(command, "curl ") {
		require.Tool(t, "curl")
	}
	for from, to := range instead {
		if strings.HasPrefix(command, from) {
			if strings.HasPrefix(to, "demo ") {
				require.NetNS(t)
			}
			return to + strings.TrimPrefix(command, from)
		}
	}
	return command
}
