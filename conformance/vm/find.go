package vm

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// ErrMissing says that something of the machine that a guest needs is not there.
// The error that wraps it tells what, and how to get it.
var ErrMissing = errors.New("not found on this machine")

// KernelEnv names a directory that holds boot/vmlinuz-* and lib/modules.
const KernelEnv = "VMNET_KERNEL_DIR"

// A Kernel is a Linux kernel with its modules.
type Kernel struct {
	Image   string // path of the image
	Modules string // path of lib/modules/<release>
}

// Release returns the kernel's version, as uname -r tells it.
func (k Kernel) Release() string { return filepath.Base(k.Modules) }

// FindKernel returns the newest of Debian's cloud kernels for amd64 in the first
// of these that has one: the directory that KernelEnv names (then no other), the
// cache that conformance/deps.sh fills, and the running system.
func FindKernel() (Kernel, error) {
	roots := []string{os.Getenv(KernelEnv)}
	if roots[0] == "" {
		roots = []string{"/"}
		if cache, err := os.UserCacheDir(); err == nil {
			roots = []string{filepath.Join(cache, "vmnet", "kernel"), "/"}
		}
	}
	for _, root := range roots {
		if k, ok := kernelIn(root); ok {
			return k, nil
		}
	}
	return Kernel{}, fmt.Errorf("kernel in %s: %w; run conformance/deps.sh vm, or set %s",
		strings.Join(roots, ", "), ErrMissing, KernelEnv)
}

// kernelIn returns the newest kernel below root that has its modules.
func kernelIn(root string) (k Kernel, ok bool) {
	images, _ := filepath.Glob(filepath.Join(root, "boot", "vmlinuz-*-amd64"))
	for _, image := range images { // Glob sorts; the last one wins
		release := strings.TrimPrefix(filepath.Base(image), "vmlinuz-")
		for _, lib := range []string{"lib", "usr/lib"} {
			modules := filepath.Join(root, lib, "modules", release)
			if _, err := os.Stat(filepath.Join(modules, "kernel")); err == nil {
				k, ok = Kernel{Image: image, Modules: modules}, true
			}
		}
	}
	return k, ok
}

// FindQEMU returns the path of qemu-system-x86_64.
func FindQEMU() (string, error) {
	return findTool("qemu-system-x86_64", "apt-get install qemu-system-x86")
}

// FindBusybox returns the path of a busybox that needs no libraries.
func FindBusybox() (string, error) {
	path, err := findTool("busybox", "apt-get install busybox-static")
	if err != nil {
		return "", err
	}
	if static, err := isStatic(path); err != nil || !static {
		return "", errors.Join(fmt.Errorf("static busybox: %s is not: %w; on Debian: apt-get install busybox-static", path, ErrMissing), err)
	}
	return path, nil
}

func findTool(name, hint string) (string, error) {
	path, err := exec.LookPath(name)
	if errors.Is(err, exec.ErrNotFound) {
		return "", fmt.Errorf("%s: %w; on Debian: %s", name, ErrMissing, hint)
	}
	return path, err
}
