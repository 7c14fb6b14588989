package install

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Kinds of entries.
const (
	kindDir  = "dir"
	kindFile = "file"
	kindLink = "link"
)

// An entry is one thing that was made.
type entry struct {
	Path string `json:"path"`
	Kind string `json:"kind"`
	// Sum is the SHA-256 of a file, or where a link leads.
	Sum string `json:"sum,omitempty"`
}

// A record is what an installation made, in the order in which it was.
type record struct {
	Files []entry `json:"files"`
}

func readRecord(path string) (*record, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("record of the installation %s: %w", path, err)
	}
	return &r, nil
}

// add adds an entry, or puts it in the place of the one of that path.
func (r *record) add(e entry) {
	if i := r.index(e.Path); i >= 0 {
		r.Files[i] = e
		return
	}
	r.Files = append(r.Files, e)
}

func (r *record) index(path string) int {
	return slices.IndexFunc(r.Files, func(e entry) bool { return e.Path == path })
}

func (r *record) drop(path string) {
	r.Files = slices.DeleteFunc(r.Files, func(e entry) bool { return e.Path == path })
}

// save writes the record, so that whatever ends this run, the next one knows.
func (in *installer) save() error {
	if in.DryRun {
		return nil
	}
	path := in.record()
	if err := in.makeDirs(path); err != nil {
		return err
	}
	data, err := json.MarshalIndent(in.rec, "", "  ")
	if err != nil {
		return err
	}
	return replace(in.at(path), append(data, '\n'), 0o644)
}

// removeRecord removes the record and the directories that were made for it.
func (in *installer) removeRecord() error {
	if in.DryRun {
		return nil
	}
	if err := os.Remove(in.at(in.record())); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range slices.Backward(in.rec.Files) { // what is left: directories
		if err := in.removeDir(e.Path); err != nil {
			return err
		}
	}
	return nil
}

// removeDir removes a directory that is empty.
func (in *installer) removeDir(dir string) error {
	left, err := os.ReadDir(in.at(dir))
	if errors.Is(err, fs.ErrNotExist) || len(left) > 0 {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Remove(in.at(dir))
}

// replace writes a file in one step: whoever opens it gets the old or the new one,
// and a program that runs is not disturbed.
func replace(path string, data []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

func sum(data []byte) string {
	s := sha256.Sum256(data)
	return hex.EncodeToString(s[:])
}
