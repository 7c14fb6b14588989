//go:build !linux

package handover

import (
	"crypto/rand"
	"os"
	"path/filepath"
)

// defaultLocal returns a path that is not taken: 60 random bits.
func defaultLocal() string {
	return filepath.Join(os.TempDir(), "vmnet-"+rand.Text()[:12]+".sock")
}
