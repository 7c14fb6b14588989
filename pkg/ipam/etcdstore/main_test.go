package etcdstore_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/vmnet-cni/vmnet/internal/leak"
)

// TestMain lets the tests find the etcd that conformance/deps.sh has unpacked,
// where none is installed.
func TestMain(m *testing.M) {
	dir := os.Getenv("VMNET_ETCD_DIR")
	if cache, err := os.UserCacheDir(); dir == "" && err == nil {
		dir = filepath.Join(cache, "vmnet", "etcd")
	}
	path := os.Getenv("PATH") + string(os.PathListSeparator) + filepath.Join(dir, "usr", "bin")
	if err := os.Setenv("PATH", path); err != nil {
		panic(err)
	}
	leak.Main(m, nil)
}
