// Package require lets a test say what it needs of the machine. A test whose
// need is proven to be missing is skipped; where the environment variable
// VMNET_REQUIRE (a comma list, as "root,netns,qemu") names the need, it fails
// instead, so that a machine that has everything cannot skip by mistake.
package require

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// Env is the variable that lists the needs that must not be missing.
const Env = "VMNET_REQUIRE"

// Root needs the effective user to be root. Its name in Env is "root".
func Root(t testing.TB) {
	t.Helper()
	if uid := os.Geteuid(); uid != 0 {
		Missing(t, "root", "this test needs root; the effective user is %d", uid)
	}
}

// NotRoot needs the effective user to be another than root. Its name in Env is
// "notroot".
func NotRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		Missing(t, "notroot", "this test needs an unprivileged user")
	}
}

// Linux needs the system to be Linux. Its name in Env is "linux".
func Linux(t testing.TB) {
	t.Helper()
	if runtime.GOOS != "linux" {
		Missing(t, "linux", "this test needs Linux; this is %s", runtime.GOOS)
	}
}

// IPv6 needs a host with IPv6, at least on its loopback. Its name in Env is "ipv6".
func IPv6(t testing.TB) {
	t.Helper()
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		Missing(t, "ipv6", "no IPv6 on this host: %v", err)
		return
	}
	_ = l.Close()
}

// Tool needs a program of that name in PATH and returns its path. Its name in
// Env is the program's.
func Tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	switch {
	case errors.Is(err, exec.ErrNotFound):
		Missing(t, name, "this test needs the program %s; it is not in PATH", name)
	case err != nil:
		t.Fatalf("look for %s: %v", name, err)
	}
	return path
}

// Unpacked returns the directory into which conformance/deps.sh unpacks programs
// whose packages would start services if they were installed: $VMNET_<NAME>_DIR, else
// vmnet/<name> in the user's cache. It may not be there.
func Unpacked(t testing.TB, name string) string {
	t.Helper()
	if dir := os.Getenv("VMNET_" + strings.ToUpper(name) + "_DIR"); dir != "" {
		return dir
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(cache, "vmnet", name)
}

// UnpackedTool is Tool for a program that may be at a path in Unpacked.
func UnpackedTool(t testing.TB, name, path string) string {
	t.Helper()
	path = filepath.Join(Unpacked(t, name), path)
	if _, err := os.Stat(path); err == nil {
		return path
	}
	return Tool(t, filepath.Base(path))
}

// QEMU needs qemu-system-x86_64 and returns its path. Its name in Env is "qemu".
func QEMU(t testing.TB) string {
	t.Helper()
	const name = "qemu-system-x86_64"
	path, err := exec.LookPath(name)
	switch {
	case errors.Is(err, exec.ErrNotFound):
		Missing(t, "qemu", "this test needs %s (Debian: apt-get install qemu-system-x86)", name)
	case err != nil:
		t.Fatalf("look for %s: %v", name, err)
	}
	return path
}

// NetNS needs the right to make network namespaces (CAP_SYS_ADMIN on Linux). Its
// name in Env is "netns".
func NetNS(t testing.TB) {
	t.Helper()
	if err := netNS(); err != nil {
		missingFor(t, "netns", "this test needs to make network namespaces", err)
	}
}

// UserNS needs the right to make user namespaces with a network namespace in
// them, as unprivileged programs do. Its name in Env is "userns".
func UserNS(t testing.TB) {
	t.Helper()
	if err := userNS(); err != nil {
		missingFor(t, "userns", "this test needs to make user namespaces", err)
	}
}

// missingFor is missing for a need that was probed: only a refusal by the system
// proves that it is missing; any other error is a fault.
func missingFor(t testing.TB, need, text string, err error) {
	t.Helper()
	if errors.Is(err, os.ErrPermission) || errors.Is(err, errors.ErrUnsupported) {
		Missing(t, need, "%s: %v", text, err)
	}
	t.Fatalf("%s: %v", text, err)
}

// Missing skips the test for want of need, or fails it where Env lists need.
func Missing(t testing.TB, need, format string, args ...any) {
	t.Helper()
	if required(os.Getenv(Env), need) {
		t.Fatalf(format+"; and "+Env+" requires %s", append(args, need)...)
	}
	t.Skipf(format, args...)
}

// required reports whether the comma list names need.
func required(list, need string) bool {
	for name := range strings.SplitSeq(list, ",") {
		if strings.TrimSpace(name) == need {
			return true
		}
	}
	return false
}
