package shim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// maxLog is the size in bytes at which the log of a shim is moved to
// shim.log.1 before the next shim starts.
const maxLog = 8 << 20

// A child is a shim that this process started.
type child struct {
	binary string
	log    string        // path of its log
	from   int64         // where its part of the log begins
	done   chan struct{} // closed when it has ended
	err    error         // how it ended; valid after done
}

// startChild starts the shim with the listener as fd 3. The listener stays the
// caller's.
func startChild(binary string, dirs Dirs, l *net.UnixListener) (*child, error) {
	lf, err := l.File()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", binary, err)
	}
	defer lf.Close()
	log, err := openLog(dirs.LogFile())
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", binary, err)
	}
	defer log.Close()
	p := &child{binary: binary, log: dirs.LogFile(), done: make(chan struct{})}
	if fi, err := log.Stat(); err == nil {
		p.from = fi.Size()
	}
	cmd := exec.Command(binary, "keep", "--listen-fd", "3", "--", "serve", "--idle-exit", IdleExit.String())
	cmd.Dir = "/" // keeps no file system busy
	cmd.Env = append(childEnv(os.Environ()), "VMNET_RUNTIME_DIR="+dirs.Runtime, "VMNET_STATE_DIR="+dirs.State)
	cmd.Stdout, cmd.Stderr = log, log // files, so that exec starts no copier; stdin is /dev/null
	cmd.ExtraFiles = []*os.File{lf}
	detach(cmd)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", binary, err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

func openLog(path string) (*os.File, error) {
	if fi, err := os.Stat(path); err == nil && fi.Size() > maxLog {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, err
		}
	}
	return os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
}

// errLeft says that a child ended without an error.
var errLeft = errors.New("ended")

// failure says how the child ended, with the last line of its log.
func (p *child) failure() error {
	how := p.err
	if how == nil {
		how = errLeft
	}
	if last := p.lastLine(); last != "" {
		return fmt.Errorf("start %s: %w: %s", p.binary, how, last)
	}
	return fmt.Errorf("start %s: %w; see %s", p.binary, how, p.log)
}

// lastLine returns the last line that the child wrote, at most 1 KiB of it.
func (p *child) lastLine() string {
	f, err := os.Open(p.log)
	if err != nil {
		return ""
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return ""
	}
	from := max(p.from, fi.Size()-1024)
	data, err := io.ReadAll(io.NewSectionReader(f, from, fi.Size()-from))
	if err != nil {
		return ""
	}
	lines := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	return string(bytes.TrimSpace(lines[len(lines)-1]))
}

// childEnv leaves out what belongs to the one call of the plugin: variables of
// CNI, trace contexts, and the sockets and notifications of a service manager.
func childEnv(env []string) []string {
	var out []string
	for _, kv := range env {
		key, _, _ := strings.Cut(kv, "=")
		switch {
		case strings.HasPrefix(key, "CNI_"), strings.HasPrefix(key, "LISTEN_"):
		case key == "NOTIFY_SOCKET", key == "TRACEPARENT", key == "TRACESTATE", key == "BAGGAGE":
		case key == "VMNET_RUNTIME_DIR", key == "VMNET_STATE_DIR":
		default:
			out = append(out, kv)
		}
	}
	return out
}

// findBinary returns the path of the shim's program.
func findBinary(configured string, getenv func(string) string) (string, error) {
	if configured != "" {
		if !filepath.IsAbs(configured) {
			return "", Invalidf("shim.binary", configured, "want an absolute path")
		}
		if err := executable(configured); err != nil {
			return "", Invalidf("shim.binary", configured, "%v", err)
		}
		return configured, nil
	}
	var dirs []string
	if self, err := os.Executable(); err == nil {
		if real, err := filepath.EvalSymlinks(self); err == nil {
			self = real
		}
		dirs = append(dirs, filepath.Dir(self))
	}
	dirs = append(dirs, filepath.SplitList(getenv("CNI_PATH"))...)
	dirs = append(dirs, filepath.SplitList(getenv("PATH"))...)
	for _, dir := range dirs {
		// A relative directory would make what runs depend on where we are.
		if p := filepath.Join(dir, BinaryName); filepath.IsAbs(p) && executable(p) == nil {
			return p, nil
		}
	}
	return "", &Error{Code: CodeUnavailable, Message: fmt.Sprintf(
		"%s: not beside the plugin, in CNI_PATH or in PATH (%s): set shim.binary", BinaryName, strings.Join(dirs, ", "))}
}

func executable(path string) error {
	fi, err := os.Stat(path)
	switch {
	case err != nil:
		return errors.Unwrap(err)
	case !fi.Mode().IsRegular() || fi.Mode().Perm()&0o111 == 0:
		return errors.New("want an executable file")
	}
	return nil
}
