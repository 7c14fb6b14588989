package vm

import (
	_ "embed"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

//go:embed init.sh
var initScript []byte

//go:embed lease.sh
var leaseScript []byte

// A Step is something that the guest does after it has its address.
type Step struct {
	Name    string // letters, digits, dots, dashes; unlike the others'
	Command string // lines for busybox's sh -e; the step succeeds when the last does
}

var stepName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]*$`)

// image is what goes into an initramfs.
type image struct {
	busybox  string // path on the host
	modules  []module
	steps    []Step
	programs []string // paths on the host
	dhcp     bool
	lifetime time.Duration
}

// write writes the initramfs.
func (m image) write(w io.Writer) error {
	busybox, err := os.ReadFile(m.busybox)
	if err != nil {
		return fmt.Errorf("busybox: %w", err)
	}
	c := &cpioWriter{w: w}
	for _, dir := range []string{"bin", "dev", "etc", "proc", "sys", "tmp", "vmnet", "vmnet/steps"} {
		c.dir(dir)
	}
	// The kernel opens it for init before anything is mounted.
	c.char("dev/console", 5, 1)
	c.file("bin/busybox", 0o755, busybox)
	for _, path := range m.programs {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		c.file("bin/"+filepath.Base(path), 0o755, data)
	}
	c.file("init", 0o755, initScript)
	c.file("vmnet/lease", 0o755, leaseScript)
	if m.dhcp {
		c.file("vmnet/dhcp", 0o644, nil)
	}
	c.file("vmnet/lifetime", 0o644, strconv.AppendInt(nil, int64(m.lifetime/time.Second), 10))
	var modules, order []string
	for _, mod := range m.modules {
		modules = append(modules, mod.name)
		c.file("vmnet/"+mod.name+".ko", 0o644, mod.data)
	}
	c.file("vmnet/modules", 0o644, []byte(strings.Join(modules, "\n")+"\n"))
	for _, s := range m.steps {
		if !stepName.MatchString(s.Name) {
			return fmt.Errorf("step %q: want a name of letters, digits, dots and dashes", s.Name)
		}
		order = append(order, s.Name)
		c.file("vmnet/steps/"+s.Name, 0o644, []byte(s.Command+"\n"))
	}
	c.file("vmnet/order", 0o644, []byte(strings.Join(order, "\n")+"\n"))
	return c.close()
}
