// Package libvmnet builds the library of this folder for tests: a shared library
// for Linux with the ABI of Apple's vmnet.framework, and of the parts of libxpc,
// libdispatch and the Blocks runtime that a client of it needs.
//
// It is the only fake of the project, there because the framework cannot be: it
// has the framework's true ABI, keeps to its limits, and ends the process on
// misuse. Its headers in include/ state every name, value and layout; its test
// controls are optional symbols described in include/libvmnet_test.h. Build
// compiles it, Declarations reads the headers, and StartBroker joins several
// processes to one set of networks.
package libvmnet

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/internal/require"
)

//go:embed Makefile include src ctest
var sources embed.FS

// PathEnv names the variable by which driver vmnet finds its library on Linux.
const PathEnv = "VMNET_FRAMEWORK_LIBRARY"

// newest is the release that has everything: the C tests are made for it.
const newest = 260000

// Config says which library to build.
type Config struct {
	// Release is the release of macOS to imitate, 150400 for 15.4: functions and
	// keys of later ones are not in the library. Zero means 260000.
	Release int
	// Sanitize builds with the address sanitizer. Programs that load the library
	// need Library.Env.
	Sanitize bool
	// NoControls leaves the symbols of the test controls out, and names the file
	// differently: a library as another maker's with the same ABI would be.
	NoControls bool
}

// A Library is what Build made. The files are shared with other tests: do not
// change them.
type Library struct {
	Path   string   // the shared library
	Broker string   // the broker's program
	Tests  string   // the program with the C tests; only of the newest release with controls
	Env    []string // variables that a program needs to load the library
}

// Build compiles the library, once for each version of its source, and returns
// where it is. It skips the test when clang or the Blocks runtime is missing, or
// fails it when VMNET_REQUIRE says that it must not be.
func Build(t testing.TB, cfg Config) Library {
	t.Helper()
	require.Linux(t)
	clang := require.Tool(t, "clang")
	require.Tool(t, "make")
	blocksRuntime(t, clang)
	if cfg.Release == 0 {
		cfg.Release = newest
	}
	lib, err := build(clang, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return lib
}

// blocksRuntime skips the test, or fails it where clang is required, when the
// compiler does not find the Blocks runtime.
func blocksRuntime(t testing.TB, clang string) {
	t.Helper()
	const name = "libBlocksRuntime.so"
	path, err := exec.Command(clang, "-print-file-name="+name).Output()
	if err != nil {
		t.Fatalf("%s -print-file-name=%s: %v", clang, name, err)
	}
	if strings.TrimSpace(string(path)) != name {
		return // found: else the name comes back as it was
	}
	const text = "this test needs the Blocks runtime (Debian: apt-get install libblocksruntime-dev)"
	if slices.Contains(strings.Split(os.Getenv(require.Env), ","), "clang") {
		t.Fatal(text)
	}
	t.Skip(text)
}

// build makes the library in a cache directory named by what goes into it.
func build(clang string, cfg Config) (Library, error) {
	key, err := cacheKey(clang, cfg)
	if err != nil {
		return Library{}, err
	}
	base, err := os.UserCacheDir()
	if err != nil {
		base = os.TempDir()
	}
	dir := filepath.Join(base, "vmnet-libvmnet", key)
	lib := Library{
		Path:   filepath.Join(dir, "libvmnet.so"),
		Broker: filepath.Join(dir, "libvmnet-broker"),
		Tests:  filepath.Join(dir, "libvmnet-ctest"),
	}
	if cfg.NoControls {
		lib.Path, lib.Tests = filepath.Join(dir, "libother.so"), ""
	}
	if cfg.Sanitize {
		lib.Env, err = sanitizerEnv(clang)
		if err != nil {
			return Library{}, err
		}
	}
	if use(dir) {
		return lib, nil
	}
	return lib, compile(dir, cfg)
}

// use reports whether a build is there, and notes that it is used.
func use(dir string) bool {
	now := time.Now()
	return os.Chtimes(dir, now, now) == nil
}

// cacheKey hashes the source, the compiler's version and the configuration.
func cacheKey(clang string, cfg Config) (string, error) {
	version, err := exec.Command(clang, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("%s --version: %w", clang, err)
	}
	h := sha256.New()
	fmt.Fprintf(h, "%s %+v\n", version, cfg)
	err = fs.WalkDir(sources, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := sources.ReadFile(path)
		fmt.Fprintf(h, "%s %d\n%s", path, len(data), data)
		return err
	})
	return hex.EncodeToString(h.Sum(nil)[:12]), err
}

// compile builds in a directory beside dir and renames it, so that tests that run
// at the same time see all of the library or nothing.
func compile(dir string, cfg Config) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	src, out := filepath.Join(tmp, "src"), filepath.Join(tmp, "out")
	if err := os.CopyFS(src, sources); err != nil {
		return fmt.Errorf("copy sources: %w", err)
	}
	args := []string{"-s", "-j2", "-C", src, "OUT=" + out, fmt.Sprintf("MACOS=%d", cfg.Release)}
	built := out
	switch {
	case cfg.Sanitize && cfg.NoControls:
		return errors.New("libvmnet: no controls, and the sanitizer: there is no such build")
	case cfg.Sanitize:
		args = append(args, "asan")
		built = filepath.Join(out, "asan")
	case cfg.NoControls:
		args = append(args, "CONTROLS=0")
	case cfg.Release == newest:
		args = append(args, "ctest")
	}
	if text, err := exec.Command("make", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("make %s: %w\n%s", strings.Join(args, " "), err, text)
	}
	if cfg.NoControls {
		if err := os.Rename(filepath.Join(built, "libvmnet.so"), filepath.Join(built, "libother.so")); err != nil {
			return err
		}
	}
	prune(filepath.Dir(dir))
	if err := os.Rename(built, dir); err != nil {
		if _, raced := os.Stat(dir); raced == nil {
			return nil
		}
		return err
	}
	return nil
}

// prune removes what was not used for a week: the source has changed since.
func prune(cache string) {
	entries, err := os.ReadDir(cache)
	if err != nil {
		return
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > 7*24*time.Hour {
			os.RemoveAll(filepath.Join(cache, e.Name()))
		}
	}
}

// sanitizerEnv tells how a program without the sanitizer loads a library with it:
// the sanitizer's runtime first, no claim on SIGSEGV, which is Go's, and no leak
// check, since Go's memory holds what looks lost.
func sanitizerEnv(clang string) ([]string, error) {
	arch := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	name := "libclang_rt.asan-" + arch + ".so"
	path, err := exec.Command(clang, "-print-file-name="+name).Output()
	if err != nil {
		return nil, fmt.Errorf("%s -print-file-name=%s: %w", clang, name, err)
	}
	return []string{
		"LD_PRELOAD=" + strings.TrimSpace(string(path)),
		"ASAN_OPTIONS=detect_leaks=0:handle_segv=0",
	}, nil
}
