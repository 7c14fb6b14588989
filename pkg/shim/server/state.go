package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// stateVersion is the version of the state files. A file of a later version is
// set aside like a damaged one, so that going back to an older shim works.
const stateVersion = 1

// damagedSuffix is the end of the name that a damaged file gets.
const damagedSuffix = ".damaged"

// An attachmentRecord is the state file of an attachment.
type attachmentRecord struct {
	Version int `json:"version"`
	ipam.Key
	UUID    uuid.UUID          `json:"uuid"`
	MAC     string             `json:"mac"`
	Addr    netip.Prefix       `json:"addr,omitzero"`  // the IPv4 lease; zero at layer 2 and without IPv4
	Addr6   netip.Prefix       `json:"addr6,omitzero"` // the IPv6 lease
	Owner   uint32             `json:"owner"`
	Created time.Time          `json:"created"`
	Request shim.AttachRequest `json:"request"` // normalized
	// Plugged is the inode of the network namespace in which the driver made the
	// guest's end, Request.Sandbox; 0: it made none.
	Plugged uint64           `json:"plugged,omitempty"`
	Granted shim.NetworkSpec `json:"granted"` // the network as it was opened
}

func (r *attachmentRecord) valid() error {
	switch {
	case r.Version != stateVersion:
		return fmt.Errorf("version %d, want %d", r.Version, stateVersion)
	case checkKey(r.Key) != nil:
		return checkKey(r.Key)
	}
	return normalize(r.Key, &r.Request)
}

// A networkRecord is the state file of a network: the choices that stay when its
// last attachment is gone.
type networkRecord struct {
	Version int              `json:"version"`
	Asked   shim.NetworkSpec `json:"asked"`
	Granted shim.NetworkSpec `json:"granted"`
	Owner   uint32           `json:"owner"`
	Used    time.Time        `json:"used"` // when it was opened last
}

func (r *networkRecord) valid() error {
	if r.Version != stateVersion {
		return fmt.Errorf("version %d, want %d", r.Version, stateVersion)
	}
	return shim.CheckNetwork(r.Granted.Name)
}

// A state is the part of the state directory that the server keeps in files:
// one for each attachment and each network, named by a hash.
type state struct{ dir string }

func (s state) attachments() string { return shim.Dirs{State: s.dir}.AttachmentRecords() }
func (s state) networks() string    { return filepath.Join(s.dir, "networks") }

func (s state) attachmentFile(k ipam.Key) string {
	return shim.Dirs{State: s.dir}.AttachmentFile(k.Network, k.ContainerID, k.IfName)
}

func (s state) networkFile(name string) string {
	return filepath.Join(s.networks(), shim.Hash(name)+".json")
}

func (s state) prepare() error {
	for _, dir := range []string{s.attachments(), s.networks()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	return nil
}

// A checked record says what is wrong with it.
type checked[T any] interface {
	*T
	valid() error
}

// load reads every record in dir. Files that cannot be read as one are renamed
// and told in damaged; they harm nobody else.
func load[T any, P checked[T]](dir string) (records []T, damaged []damage, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if strings.HasSuffix(path, tempSuffix) {
			_ = os.Remove(path) // of a shim that died while it wrote; never read
			continue
		}
		if filepath.Ext(path) != ".json" {
			continue
		}
		var rec T
		err := readJSON(path, &rec)
		if err == nil {
			err = P(&rec).valid()
		}
		if err != nil {
			damaged = append(damaged, damage{path, setAside(path, err)})
			continue
		}
		records = append(records, rec)
	}
	return records, damaged, nil
}

// setAside renames a damaged file and says so.
func setAside(path string, why error) string {
	if err := os.Rename(path, path+damagedSuffix); err != nil {
		return fmt.Sprintf("state file %s is damaged (%v) and cannot be renamed: %v", path, why, err)
	}
	return fmt.Sprintf("state file %s was damaged (%v) and is now %s", path, why, filepath.Base(path)+damagedSuffix)
}

func readJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, v)
}

// tempSuffix is the end of the names of files being written.
const tempSuffix = ".tmp"

// replaceJSON replaces the file at path by v as JSON: after a kill at any instant the
// old content is there or the new. lateSync brings it to the disk.
func replaceJSON(path string, v any) (err error) {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	f, err := createFile(path + tempSuffix)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, werr := f.Write(append(data, '\n'))
	if err := errors.Join(werr, f.Close()); err != nil {
		return err
	}
	return rename(f.Name(), path)
}

// removeFile removes a file durably. One that is not there is fine.
func removeFile(path string) error {
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return syncFile(filepath.Dir(path))
}
