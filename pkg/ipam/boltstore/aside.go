package boltstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// maxAside is how many damaged files are kept beside a file. When there are
// more, the oldest go.
const maxAside = 4

// asideSuffix comes between the file's name and the time.
const asideSuffix = ".damaged-"

// setAside renames the damaged file, of which the caller has the lock, tells
// cfg.OnDamage, and returns errReplaced, so that Open begins anew.
func setAside(path string, cfg Config, damage error) error {
	to, err := freeName(path + asideSuffix + time.Now().UTC().Format("20060102T150405.000000000Z"))
	if err != nil {
		return errors.Join(damage, err)
	}
	if err := os.Rename(path, to); err != nil {
		return errors.Join(damage, err)
	}
	if cfg.OnDamage != nil {
		cfg.OnDamage(Damage{Path: path, SavedAs: to, Err: damage})
	}
	err = prune(path)
	if !cfg.NoSync {
		err = errors.Join(err, syncDir(path))
	}
	return errors.Join(errReplaced, err)
}

// setAsideAgain sets a file aside whose lock was given back since the damage was
// found.
func setAsideAgain(path string, cfg Config, deadline time.Time, damage error) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return errors.Join(damage, err)
	}
	defer func() { _ = f.Close() }() // only read from
	if err := lock(f, deadline); err != nil {
		return errors.Join(damage, err)
	}
	if err := stillAt(path, f); err != nil {
		return err
	}
	return setAside(path, cfg, damage)
}

// freeName returns name, or name with a number if that is taken.
func freeName(name string) (string, error) {
	try := name
	for i := 1; i < 100; i++ {
		if _, err := os.Lstat(try); errors.Is(err, fs.ErrNotExist) {
			return try, nil
		} else if err != nil {
			return "", err
		}
		try = fmt.Sprintf("%s-%d", name, i)
	}
	return "", &fs.PathError{Op: "rename", Path: name, Err: fs.ErrExist}
}

// prune removes the oldest of more than maxAside damaged files. Their names sort
// by age.
func prune(path string) error {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return err
	}
	var names []string
	prefix := filepath.Base(path) + asideSuffix
	for _, e := range entries {
		if len(e.Name()) > len(prefix) && e.Name()[:len(prefix)] == prefix {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	for ; len(names) > maxAside; names = names[1:] {
		err = errors.Join(err, os.Remove(filepath.Join(filepath.Dir(path), names[0])))
	}
	return err
}

// syncDir makes the directory's entries durable.
func syncDir(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
