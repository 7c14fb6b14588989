package cni

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// eofLimit is how long after the plugin's exit its stdout and stderr may stay
// open: libcni, which waits for both, is held up as long.
const eofLimit = 2 * time.Second

// maxOutput bounds what is kept of stdout and stderr, in bytes.
const maxOutput = 4 << 20

// A call is one execution of a plugin, raw: exactly this environment and stdin.
type call struct {
	command string
	vars    map[string]string // CNI_ variables beside CNI_COMMAND
	unset   []string          // variables that are left out after all
	env     []string          // more environment
	stdin   []byte
	stdinFd *os.File      // instead of stdin; the caller's
	stderr  *os.File      // instead of a pipe; the caller's
	limit   time.Duration // 0: the target's Timeout
	kill    time.Duration // SIGKILL after so long; 0: never
}

// An outcome is what came of a call.
type outcome struct {
	command        string
	exit           int // -1: ended by a signal
	stdout, stderr []byte
	took           time.Duration
	hung           bool // killed at the time limit
	held           bool // stdout or stderr was open eofLimit after the exit
	broken         error
}

// String tells what was seen, shortened.
func (o *outcome) String() string {
	s := fmt.Sprintf("%s: exit %d", o.command, o.exit)
	switch {
	case o.broken != nil:
		s = fmt.Sprintf("%s: not executed: %v", o.command, o.broken)
	case o.hung:
		s = fmt.Sprintf("%s: killed after %v", o.command, o.took.Round(time.Second))
	}
	if o.held {
		s += ", stdout or stderr still held open"
	}
	s += ", stdout " + clip(o.stdout)
	if len(o.stderr) > 0 {
		s += ", stderr " + clip(o.stderr)
	}
	return s
}

func clip(b []byte) string {
	const most = 400
	b = bytes.TrimSpace(b)
	if len(b) > most {
		return fmt.Sprintf("%q…", b[:most])
	}
	return fmt.Sprintf("%q", b)
}

// execute runs path as c says. The plugin and what it starts form a process
// group, which is killed when the time is up.
func execute(ctx context.Context, path string, c call, env []string) *outcome {
	o := &outcome{command: c.command}
	cmd := exec.Command(path)
	cmd.Env = env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var open pipes
	defer open.close()
	in, err := open.input(c)
	if err != nil {
		o.broken = err
		return o
	}
	cmd.Stdin = in
	outEnd, out, err := open.output()
	if err != nil {
		o.broken = err
		return o
	}
	errEnd, serr, err := open.output()
	if err != nil {
		o.broken = err
		return o
	}
	cmd.Stdout, cmd.Stderr = outEnd, errEnd
	if c.stderr != nil {
		cmd.Stderr = c.stderr
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		o.broken = err
		return o
	}
	open.closeTheirs()
	out.start()
	serr.start()
	o.wait(ctx, cmd, c)
	o.took = time.Since(start)
	o.held = !awaitBoth(out, serr)
	o.stdout, o.stderr = out.buf.Bytes(), serr.buf.Bytes()
	return o
}

// wait waits for the exit, or kills at one of the limits.
func (o *outcome) wait(ctx context.Context, cmd *exec.Cmd, c call) {
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	var kill <-chan time.Time
	if c.kill > 0 {
		kill = time.After(c.kill)
	}
	limit := time.NewTimer(c.limit)
	defer limit.Stop()
	var err error
	select {
	case err = <-done:
	case <-kill:
		err = o.killed(cmd, done, false)
	case <-limit.C:
		err = o.killed(cmd, done, true)
	case <-ctx.Done():
		err = o.killed(cmd, done, true)
	}
	var ee *exec.ExitError
	switch {
	case err == nil:
	case errors.As(err, &ee):
		o.exit = ee.ExitCode()
	default:
		o.broken = err
	}
}

// killed kills the plugin alone, as libcni does when its context ends, or, when
// it hangs, its whole group.
func (o *outcome) killed(cmd *exec.Cmd, done <-chan error, hung bool) error {
	o.hung = hung
	pid := cmd.Process.Pid
	if hung {
		pid = -pid
	}
	// It may have exited just now: then there is nothing to kill.
	_ = syscall.Kill(pid, syscall.SIGKILL)
	return <-done
}

// pipes are the ends that one execution opened.
type pipes struct{ theirs, ours []*os.File }

// input returns the plugin's stdin. What fits into the pipe is there before the
// plugin starts.
func (p *pipes) input(c call) (*os.File, error) {
	if c.stdinFd != nil {
		return c.stdinFd, nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p.theirs = append(p.theirs, r)
	go func() {
		// A plugin that does not read its stdin is not at fault: the error
		// is of no interest.
		_, _ = w.Write(c.stdin)
		_ = w.Close()
	}()
	return r, nil
}

func (p *pipes) output() (*os.File, *reader, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	p.theirs, p.ours = append(p.theirs, w), append(p.ours, r)
	return w, &reader{r: r, done: make(chan struct{})}, nil
}

func (p *pipes) closeTheirs() {
	for _, f := range p.theirs {
		_ = f.Close()
	}
	p.theirs = nil
}

func (p *pipes) close() {
	p.closeTheirs()
	for _, f := range p.ours {
		_ = f.Close()
	}
}

// A reader keeps what comes out of a pipe, at most maxOutput bytes of it.
type reader struct {
	r    *os.File
	buf  bytes.Buffer
	done chan struct{}
}

func (r *reader) start() {
	go func() {
		defer close(r.done)
		_, _ = io.Copy(&r.buf, io.LimitReader(r.r, maxOutput))
		_, _ = io.Copy(io.Discard, r.r)
	}()
}

// awaitBoth waits for the ends of two streams, for eofLimit, and reports whether they
// came. It waits in many steps: a machine that stands still for longer is not the
// plugin's fault.
func awaitBoth(a, b *reader) bool {
	const steps = 20
	for range steps {
		t := time.NewTimer(eofLimit / steps)
		if a.ended(t.C) && b.ended(t.C) {
			t.Stop()
			return true
		}
	}
	for _, r := range []*reader{a, b} {
		_ = r.r.SetReadDeadline(time.Now())
		<-r.done
	}
	return false
}

// ended reports whether the stream ends before late.
func (r *reader) ended(late <-chan time.Time) bool {
	select {
	case <-r.done:
		return true
	case <-late:
	}
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}
