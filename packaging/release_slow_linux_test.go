package packaging_test

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/vmnet-cni/vmnet/internal/require"
)

// slowEnv has the slow tests of releases run: "1". They have GoReleaser make all of
// it, and the second one downloads a small Debian. "cold" builds once more with an
// empty cache, and "dist" installs the package that is in dist.
const slowEnv = "VMNET_TEST_RELEASE"

// baseEnv names a directory that debootstrap made already.
const baseEnv = "VMNET_TEST_DEBIAN"

func slow(t *testing.T) {
	t.Helper()
	if os.Getenv(slowEnv) == "" {
		t.Skip("slow: set " + slowEnv + "=1")
	}
	t.Chdir("..")
}

// TestReproducible makes a release twice, the second time without a network.
func TestReproducible(t *testing.T) {
	slow(t)
	command(t, "make", "release")
	sums := checksums(t)
	if os.Getenv(slowEnv) == "cold" {
		t.Setenv("GOCACHE", t.TempDir())
	}
	t.Setenv("GOPROXY", "off")
	again := []string{"make", "release"}
	if os.Geteuid() == 0 {
		again = []string{"unshare", "--net", "make", "release"}
	}
	command(t, again[0], again[1:]...)
	if again := checksums(t); again != sums {
		t.Errorf("two releases differ:\n%s\n%s", sums, again)
	}
	t.Logf("\n%s", sums)
}

// checksums returns the checksums of dist, which are right, and the formula's.
func checksums(t *testing.T) string {
	t.Helper()
	const sum = "cd dist && sha256sum --quiet -c checksums.txt && cat checksums.txt && sha256sum homebrew/vmnet.rb"
	return command(t, "sh", "-ec", sum)
}

// TestDebianLife installs the package in a small Debian of its own, runs the demo
// there from the installed programs, and purges it: nothing is left.
func TestDebianLife(t *testing.T) {
	slow(t)
	require.Root(t)
	root := filepath.Join(t.TempDir(), "root")
	if base := os.Getenv(baseEnv); base != "" {
		command(t, "cp", "-a", base, root)
	} else {
		command(t, require.Tool(t, "debootstrap"), "--variant=minbase", "bookworm", root)
	}
	if os.Getenv(slowEnv) != "dist" {
		command(t, "make", "release")
	}
	debs, err := filepath.Glob("dist/vmnet_*_linux_" + runtime.GOARCH + ".deb")
	if err != nil || len(debs) != 1 {
		t.Fatalf("packages: %q, %v", debs, err)
	}
	version := "v" + strings.TrimSuffix(strings.TrimPrefix(filepath.Base(debs[0]), "vmnet_"), "_linux_"+runtime.GOARCH+".deb")
	demo := filepath.Join(root, "tmp/demo")
	must(t, os.MkdirAll(demo+"/bin", 0o755))
	t.Setenv("CGO_ENABLED", "0")
	command(t, "go", "build", "-o", demo+"/vmnet-demo", "./conformance/demo")
	command(t, "cp", "-r", "examples/net.d", demo)
	command(t, "cp", debs[0], demo+"/vmnet.deb")
	must(t, os.Symlink("/usr/lib/cni/vmnet", demo+"/bin/vmnet"))
	must(t, os.Symlink("/usr/bin/vmnet-shim", demo+"/bin/vmnet-shim"))
	before := files(t, root)
	inside := func(script string) string {
		// Mounts of its own, and gone with it.
		return command(t, "unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "sh", "-ec",
			`mount -t proc proc "$0/proc"; ip link set lo up; exec chroot "$0" /bin/sh -ec "$1"`, root, script)
	}
	inside("dpkg -i /tmp/demo/vmnet.deb")
	for script, want := range map[string]string{
		"vmnet-shim version":                                                   "vmnet-shim " + version + " ",
		"/opt/cni/bin/vmnet version":                                           "vmnet " + version,
		"vmnet-shim doctor || true":                                            "0 wrong",
		"cd /tmp/demo && ./vmnet-demo -bin bin -net-dir net.d":                 "nothing is left",
		"cd /tmp/demo && /opt/cni/bin/vmnet validate net.d/10-shared.conflist": "good",
	} {
		if got := inside(script); !strings.Contains(got, want) {
			t.Errorf("%s: no %q in\n%s", script, want, got)
		}
	}
	inside("dpkg --purge vmnet")
	if left := files(t, root); !slices.Equal(left, before) {
		for _, f := range left {
			if !slices.Contains(before, f) {
				t.Errorf("left: %s", f)
			}
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// command runs a command and returns what it printed.
func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// files lists what is below root, but for dpkg's own books.
func files(t *testing.T, root string) []string {
	t.Helper()
	var all []string
	must(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(root, path)
		switch {
		case err != nil:
			return err
		case rel == "var/lib/dpkg", rel == "var/log", rel == "var/cache", rel == "proc":
			return filepath.SkipDir
		case d.IsDir(): // dpkg leaves a directory that it did not make
			all = append(all, rel+"/")
			return nil
		}
		fi, err := d.Info()
		all = append(all, fmt.Sprintf("%s %v %d", rel, fi.Mode(), fi.Size()))
		return err
	}))
	return all
}
