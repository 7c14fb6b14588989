package libvmnet

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestPrune removes an old build that nobody uses, and none that is used.
func TestPrune(t *testing.T) {
	cache := t.TempDir()
	old := time.Now().Add(-30 * 24 * time.Hour)
	for _, name := range []string{"used", "forgotten"} {
		dir := filepath.Join(cache, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(dir, old, old); err != nil {
			t.Fatal(err)
		}
	}
	if !use(filepath.Join(cache, "used")) || use(filepath.Join(cache, "absent")) {
		t.Error("use does not tell what is there")
	}
	prune(cache)
	left, err := os.ReadDir(cache)
	if err != nil || len(left) != 1 || left[0].Name() != "used" {
		t.Errorf("left: %v, %v", left, err)
	}
}
