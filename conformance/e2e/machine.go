package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/vmnet-cni/vmnet/pkg/handover"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// Config says what machine to make.
type Config struct {
	// Bin is the directory that holds vmnet and vmnet-shim.
	Bin string
	// Dir is an empty directory for everything the machine keeps. Its path is
	// short, since sockets are below it.
	Dir string
	// ConfList is the network configuration list, as JSON.
	ConfList []byte
	// Env is added to the environment of every program.
	Env []string
	// Do runs a function that starts programs, on a thread that is in the
	// namespaces which they shall be in. Nil: on any thread.
	Do func(func() error) error
}

// A Machine is a place where attachments are made. Its methods may be called
// from several goroutines.
type Machine struct {
	Dirs   shim.Dirs
	Client *shim.Client
	dir    string
	env    []string
	do     func(func() error) error
	list   *libcni.NetworkConfigList
	cni    *libcni.CNIConfig
}

// New returns a machine. Nothing runs on it until the first Add.
func New(cfg Config) (*Machine, error) {
	bin, err := filepath.Abs(cfg.Bin)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"vmnet", shim.BinaryName} {
		if _, err := os.Stat(filepath.Join(bin, name)); err != nil {
			return nil, fmt.Errorf("program %s: %w; build it with make build", name, err)
		}
	}
	list, err := libcni.NetworkConfFromBytes(cfg.ConfList)
	if err != nil {
		return nil, fmt.Errorf("network configuration: %w", err)
	}
	m := &Machine{
		dir:  cfg.Dir,
		list: list,
		Dirs: shim.Dirs{Runtime: filepath.Join(cfg.Dir, "run"), State: filepath.Join(cfg.Dir, "state")},
	}
	m.Client = shim.NewClient(m.Dirs.ShimSocket())
	m.env = append(slices.Clip(cfg.Env), "VMNET_RUNTIME_DIR="+m.Dirs.Runtime, "VMNET_STATE_DIR="+m.Dirs.State)
	if m.do = cfg.Do; m.do == nil {
		m.do = func(fn func() error) error { return fn() }
	}
	m.cni = libcni.NewCNIConfigWithCacheDir([]string{bin}, filepath.Join(cfg.Dir, "cni"), &executor{
		DefaultExec: invoke.DefaultExec{RawExec: &invoke.RawExec{Stderr: os.Stderr}},
		machine:     m,
	})
	return m, nil
}

// An executor executes plugins as programs of a machine.
type executor struct {
	invoke.DefaultExec
	machine *Machine
}

// ExecPlugin implements invoke.Exec.
func (e *executor) ExecPlugin(ctx context.Context, path string, stdin []byte, env []string) (out []byte, err error) {
	err = e.machine.do(func() error {
		out, err = e.DefaultExec.ExecPlugin(ctx, path, stdin, append(env, e.machine.env...))
		return err
	})
	return out, err
}

// Run runs a program on the machine to its end.
func (m *Machine) Run(cmd *exec.Cmd) error {
	cmd.Env = append(os.Environ(), m.env...)
	return m.do(cmd.Run)
}

// Start starts a program on the machine. The caller waits for it.
func (m *Machine) Start(cmd *exec.Cmd) error {
	cmd.Env = append(os.Environ(), m.env...)
	return m.do(cmd.Start)
}

// Network returns the network's name.
func (m *Machine) Network() string { return m.list.Name }

// IfName is the name of the interface of every attachment.
const IfName = "eth0"

func (m *Machine) runtime(id, netns string) *libcni.RuntimeConf {
	return &libcni.RuntimeConf{ContainerID: id, NetNS: netns, IfName: IfName}
}

// Add executes ADD, and returns the result in the newest version.
func (m *Machine) Add(ctx context.Context, id, netns string) (*types100.Result, error) {
	return m.AddWith(ctx, id, netns, nil)
}

// AddWith executes ADD with what the runtime has for the capabilities that the
// network declares. DEL is told the same, from libcni's cache.
func (m *Machine) AddWith(ctx context.Context, id, netns string, capabilities map[string]any) (*types100.Result, error) {
	rt := m.runtime(id, netns)
	rt.CapabilityArgs = capabilities
	r, err := m.cni.AddNetworkList(ctx, m.list, rt)
	if err != nil {
		return nil, fmt.Errorf("ADD %s: %w", id, err)
	}
	return types100.NewResultFromResult(r)
}

// Check executes CHECK.
func (m *Machine) Check(ctx context.Context, id, netns string) error {
	if err := m.cni.CheckNetworkList(ctx, m.list, m.runtime(id, netns)); err != nil {
		return fmt.Errorf("CHECK %s: %w", id, err)
	}
	return nil
}

// Status executes STATUS.
func (m *Machine) Status(ctx context.Context) error {
	if err := m.cni.GetStatusNetworkList(ctx, m.list); err != nil {
		return fmt.Errorf("STATUS: %w", err)
	}
	return nil
}

// Del executes DEL.
func (m *Machine) Del(ctx context.Context, id, netns string) error {
	if err := m.cni.DelNetworkList(ctx, m.list, m.runtime(id, netns)); err != nil {
		return fmt.Errorf("DEL %s: %w", id, err)
	}
	return nil
}

// A Pushed is an attachment whose frame fd the plugin pushed.
type Pushed struct {
	Result  *types100.Result
	Message handover.Message
	// File is the frame fd; it is the caller's.
	File *os.File
	// NetNS is what CNI_NETNS was: the path of the socket, which is gone.
	NetNS string
}

// AddPush executes ADD as a runtime that listens for the frame fd.
func (m *Machine) AddPush(ctx context.Context, id string) (*Pushed, error) {
	p := &Pushed{NetNS: filepath.Join(m.dir, id+".sock")}
	l, err := handover.Listen(p.NetNS)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	accepted := make(chan error, 1)
	go func() { accepted <- p.accept(ctx, l) }()
	p.Result, err = m.Add(ctx, id, p.NetNS)
	if err != nil {
		cancel()
	}
	if aerr := <-accepted; err == nil {
		err = aerr
	}
	if err != nil && p.File != nil {
		err = errors.Join(err, p.File.Close())
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

func (p *Pushed) accept(ctx context.Context, l *handover.Listener) error {
	offer, err := l.Accept(ctx)
	if err != nil {
		return err
	}
	if err := offer.Accept(); err != nil {
		return err
	}
	p.Message, p.File = offer.Message, offer.File
	return nil
}

// Stop asks the shim to leave and waits until its process, and that of its keeper,
// has ended. It returns the shim's process, or 0 when none ran.
func (m *Machine) Stop(ctx context.Context) (pid int, err error) {
	defer m.Client.Close()
	s, err := m.Client.Status(ctx)
	if errors.Is(err, shim.ErrNotRunning) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if err := syscall.Kill(s.PID, syscall.SIGTERM); err != nil {
		return s.PID, fmt.Errorf("stop shim %d: %w", s.PID, err)
	}
	for Running(s.PID) || s.Keeper != 0 && Running(s.Keeper) {
		select {
		case <-ctx.Done():
			return s.PID, fmt.Errorf("stop shim %d: %w", s.PID, ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
	return s.PID, nil
}

// Files returns the paths of all files and sockets below the machine's
// directory, relative to it; directories are not among them. What goes while they
// are listed may be there or not.
func (m *Machine) Files() (paths []string, err error) {
	err = filepath.WalkDir(m.dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && !d.IsDir() {
			paths = append(paths, strings.TrimPrefix(path, m.dir+"/"))
		}
		return err
	})
	return paths, err
}

// Log returns the last lines of the shim's log; ok is false when there is none.
func (m *Machine) Log() (text string, ok bool) {
	data, err := os.ReadFile(m.Dirs.LogFile())
	if err != nil {
		return "", false
	}
	lines := strings.SplitAfter(string(data), "\n")
	return strings.Join(lines[max(0, len(lines)-30):], ""), true
}
