// Package tempdir makes directories for tests with sockets in them, whose paths are
// short, and with programs in them, which other users run.
package tempdir

import (
	"os"
	"path/filepath"
)

// maxBase is how long the directory for temporary files may be, in bytes: macOS's is
// longer, and sun_path has 104.
const maxBase = 30

// Make makes a directory below os.TempDir, or below /tmp where that is long or closed
// to other users. The caller removes it.
func Make(prefix string) (string, error) {
	base := os.TempDir()
	if len(base) > maxBase || !open(base) {
		base = "/tmp"
	}
	return os.MkdirTemp(base, prefix)
}

// open reports whether every user may pass through the directory.
func open(dir string) bool {
	for {
		fi, err := os.Stat(dir)
		if err != nil || fi.Mode().Perm()&0o001 == 0 {
			return false
		}
		up := filepath.Dir(dir)
		if up == dir {
			return true
		}
		dir = up
	}
}
