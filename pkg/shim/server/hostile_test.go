package server_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/vmnet-cni/vmnet/internal/require"
	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/shim/server"
)

// The tests of this file play a local user who is let in by nobody, or who is a
// member of the group and means harm: SECURITY.md names one for each thing that
// such a user cannot do.

// playHostile does one thing as another user and prints what came of it.
func playHostile(args []string) int {
	verb, path := args[0], args[1]
	var err error
	switch verb {
	case "connect":
		err = connectTo("unix", path)
	case "connect-dgram":
		err = connectTo("unixgram", path)
	case "read":
		_, err = os.ReadFile(path)
	case "write":
		err = os.WriteFile(path, []byte("x"), 0o600)
	case "replace":
		err = errors.Join(os.Remove(path), os.Symlink("/etc/passwd", path))
	case "mkdir":
		err = os.Mkdir(path, 0o700)
	case "symlink":
		err = os.Symlink(args[2], path)
	case "garbage":
		err = garbage(path)
	case "list":
		_, err = os.ReadDir(path)
	case "client":
		var c *shim.Client
		if c, err = shim.Ensure(context.Background(), shim.EnsureConfig{Address: path, Timeout: patience}); err == nil {
			err = c.Close()
		}
	case "listen":
		l, lerr := net.Listen("unix", path)
		if err = errors.Join(lerr, os.Chmod(path, 0o666)); err == nil {
			fmt.Println("listening")
			_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
			err = l.Close()
		}
	case "hog":
		return hog(path, args[2])
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("done")
	return 0
}

func connectTo(network, path string) error {
	c, err := net.DialTimeout(network, path, patience)
	if err != nil {
		return err
	}
	return c.Close()
}

// hog opens connections and says nothing on them, until its stdin ends.
func hog(path, count string) int {
	n, _ := strconv.Atoi(count)
	for range n {
		c, err := net.Dial("unix", path)
		if err != nil {
			fmt.Println(err)
			return 1
		}
		defer c.Close()
	}
	fmt.Println("hogging")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	return 0
}

// A stranger is another user of the machine.
type stranger struct {
	t   *testing.T
	exe string
}

func newStranger(t *testing.T, dirs shim.Dirs) stranger {
	t.Helper()
	require.Root(t)
	return stranger{t, publicSelf(t, filepath.Dir(dirs.State))}
}

func (s stranger) command(args ...string) *exec.Cmd {
	cmd := exec.Command(s.exe, args...)
	cmd.Env, cmd.Dir = []string{roleEnv + "=hostile"}, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	return cmd
}

// hold starts what goes on until the test ends, and waits until it says that it is
// at work.
func (s stranger) hold(says string, args ...string) {
	s.t.Helper()
	cmd := s.command(args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); line != says+"\n" {
		s.t.Fatalf("%q, %v, want %q", line, err, says)
	}
}

// cannot does something that must be refused by the system or by the shim.
func (s stranger) cannot(args ...string) {
	s.t.Helper()
	out, err := s.command(args...).CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		s.t.Errorf("%q: another user can", args)
	case !errors.As(err, &exit):
		s.t.Fatal(err)
	case !strings.Contains(string(out), "permission denied") && !strings.Contains(string(out), "operation not permitted"):
		s.t.Errorf("%q: %s, want permission denied", args, out)
	}
}

func TestStrangerCannotConnect(t *testing.T) {
	cfg := config(newDirs(t))
	who := newStranger(t, cfg.Dirs)
	start(t, cfg)
	who.cannot("connect", cfg.Dirs.ShimSocket())
}

func TestStrangerCannotTakeFrames(t *testing.T) {
	cfg := config(newDirs(t))
	cfg.OtherUsers = true
	who := newStranger(t, cfg.Dirs)
	r := start(t, cfg)
	a := r.attach("n", "c", shim.AttachRequest{})
	if err := os.Chmod(cfg.Dirs.ShimSocket(), 0o666); err != nil {
		t.Fatal(err)
	}
	who.cannot("connect", a.StreamSocketPath)
	who.cannot("connect-dgram", a.DgramSocketPath)
	if got := r.doAs(nobody, who.exe, "POST", "/v1/networks/n/attachments/c/eth0/frames", ""); !strings.HasPrefix(got, "404") && !strings.HasPrefix(got, "426") {
		t.Errorf("frames by pull: %s", got)
	}
}

func TestStrangerCannotTouchFiles(t *testing.T) {
	cfg := config(newDirs(t))
	who := newStranger(t, cfg.Dirs)
	r := start(t, cfg)
	a := r.attach("n", "c", shim.AttachRequest{})
	for _, path := range []string{cfg.Dirs.ShimSocket(), a.SocketPath, filepath.Join(cfg.Dirs.State, "leases.db"), cfg.Dirs.LogFile()} {
		who.cannot("replace", path)
		who.cannot("write", path+".new")
	}
	who.cannot("list", cfg.Dirs.State)
	who.cannot("read", filepath.Join(cfg.Dirs.State, "leases.db"))
	err := filepath.WalkDir(filepath.Dir(cfg.Dirs.State), func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := e.Info()
		if err == nil && fi.Mode().Perm()&0o022 != 0 && fi.Mode()&fs.ModeSymlink == 0 {
			t.Errorf("%s has mode %v, want none that others can write", path, fi.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// A member of the group that says nothing on many connections keeps nobody out.
func TestStrangerCannotHogConnections(t *testing.T) {
	cfg := config(newDirs(t))
	cfg.OtherUsers, cfg.Limits = true, server.Limits{Connections: 8}
	who := newStranger(t, cfg.Dirs)
	r := start(t, cfg)
	if err := os.Chmod(cfg.Dirs.ShimSocket(), 0o666); err != nil {
		t.Fatal(err)
	}
	who.hold("hogging", "hog", cfg.Dirs.ShimSocket(), "64")
	r.Close() // a new connection
	if _, err := r.Status(t.Context()); err != nil {
		t.Errorf("while another user holds connections: %v", err)
	}
	r.attach("n", "c", shim.AttachRequest{})
}

func TestStrangerCannotExhaust(t *testing.T) {
	cfg := config(newDirs(t))
	cfg.OtherUsers, cfg.Limits = true, server.Limits{Attachments: 8, Networks: 8}
	who := newStranger(t, cfg.Dirs)
	r := start(t, cfg)
	if err := os.Chmod(cfg.Dirs.ShimSocket(), 0o666); err != nil {
		t.Fatal(err)
	}
	put := func(network, id string) string {
		return r.doAs(nobody, who.exe, "PUT", "/v1/networks/"+network+"/attachments/"+id+"/eth0", "{}")
	}
	for i, want := range []string{"201", "201", "507"} {
		if got := put("theirs", fmt.Sprint("c", i)); !strings.HasPrefix(got, want) {
			t.Errorf("attachment %d: %s, want %s", i, got, want)
		}
	}
	for i := range 6 { // root has the rest
		r.attach("roots", fmt.Sprint("c", i), shim.AttachRequest{})
	}
	if err := r.Detach(t.Context(), "theirs", "c1", "eth0"); err != nil {
		t.Fatal(err)
	}
	if got := put("more", "c"); !strings.HasPrefix(got, "201") {
		t.Errorf("second network: %s", got)
	}
	if err := r.Detach(t.Context(), "theirs", "c0", "eth0"); err != nil {
		t.Fatal(err)
	}
}

// A shim of another user, who was quicker in /tmp, is not trusted.
func TestStrangersShimIsNotTrusted(t *testing.T) {
	cfg := config(newDirs(t))
	who := newStranger(t, cfg.Dirs)
	dir := filepath.Join(filepath.Dir(cfg.Dirs.State), "tmp")
	if err := errors.Join(os.Mkdir(dir, 0o777), os.Chmod(dir, 0o777)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "shim.sock")
	who.hold("listening", "listen", path)
	victim := who.command("client", path)
	victim.SysProcAttr.Credential = &syscall.Credential{Uid: nobody - 1, Gid: nobody - 1}
	out, err := victim.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "belongs to user 65534") {
		t.Errorf("%v: %s, want a refusal", err, out)
	}
}
