package shim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// KeeperProblem returns what the keeper of a runtime directory tells of a shim that
// dies too often, or "". It reads the report that package keeper writes, which
// clients do not import.
func KeeperProblem(runtimeDir string) (string, error) {
	data, err := os.ReadFile(filepath.Join(runtimeDir, "keeper.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	var r struct {
		Problem string    `json:"problem"`
		Until   time.Time `json:"until"`
	}
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	if err != nil {
		return "", fmt.Errorf("keeper's report: %w", err)
	}
	if !time.Now().Before(r.Until) {
		return "", nil
	}
	return r.Problem, nil
}
