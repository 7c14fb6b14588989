package shim

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// AttachmentRecords is the directory of the records of attachments.
func (d Dirs) AttachmentRecords() string { return filepath.Join(d.State, "attachments") }

// AttachmentFile is the path of the record that the shim keeps of an attachment
// while there is one.
func (d Dirs) AttachmentFile(network, containerID, ifname string) string {
	return filepath.Join(d.AttachmentRecords(), Hash(network, containerID, ifname)+".json")
}

// Recorded reports whether the state directory has a record of the attachment.
// It tells a caller that finds no shim running whether one must be started to
// delete something.
func (d Dirs) Recorded(network, containerID, ifname string) (bool, error) {
	_, err := os.Stat(d.AttachmentFile(network, containerID, ifname))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// AnyRecorded reports whether the state directory has the record of any
// attachment.
func (d Dirs) AnyRecorded() (bool, error) {
	entries, err := os.ReadDir(d.AttachmentRecords())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	for _, e := range entries {
		if filepath.Ext(e.Name()) == ".json" {
			return true, nil
		}
	}
	return false, err
}

// CanStart reports why Ensure could not start a shim, as far as that can be
// known without starting one: the directories and the program.
func (cfg EnsureConfig) CanStart() error {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return &Error{Code: CodeInvalid, Message: "start shim: " + err.Error(), cause: err}
	}
	if err := cfg.Dirs.usable(); err != nil {
		return &Error{Code: CodeUnavailable, Message: "start shim: " + err.Error(), cause: err}
	}
	_, err = findBinary(cfg.Binary, os.Getenv)
	return err
}
