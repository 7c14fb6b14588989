package main

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/sirupsen/logrus"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// A confinement is what the process keeps of its rights.
type confinement struct {
	write []string // directories and files below which it may write; root: everywhere
	root  bool
	caps  uint32 // root: a bit for each capability that is kept
}

// confinedEnv is set for a program that was started again with fewer rights.
const confinedEnv = "VMNET_SHIM_CONFINED"

// confineFirst gives up the rights that the shim does not need, and starts the
// program again with those that are left: what belongs to a thread, as most of
// this does on Linux, then belongs to all. It returns in the process that has done
// so, or where the system cannot. Descriptors, process ID and environment stay. A
// library that stands in for vmnet.framework does as it likes, and is let.
func (f *serveFlags) confineFirst(log logrus.FieldLogger) error {
	switch {
	case os.Getenv(confinedEnv) != "":
		return os.Unsetenv(confinedEnv)
	case !f.confine || os.Getenv("VMNET_FRAMEWORK_LIBRARY") != "":
		return nil
	}
	dirs, err := shim.FindDirs()
	if err == nil {
		err = dirs.Prepare()
	}
	if err != nil {
		return err
	}
	c := confinement{write: []string{dirs.Runtime, dirs.State, "/dev/null"}, root: os.Geteuid() == 0, caps: f.caps()}
	listener := f.listenFD
	if os.Getenv("LISTEN_FDS") != "" {
		listener = 3 // a keeper's, which passes it on first
	}
	if listener >= 0 {
		if path := socketOf(listener); path != "" {
			c.write = append(c.write, filepath.Dir(path))
		}
	}
	err = c.startAgain()
	if errors.Is(err, errors.ErrUnsupported) {
		log.WithError(err).Debug("not confined")
		return nil
	}
	return err
}
