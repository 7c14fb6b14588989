package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// The CNI library's pkg/invoke would do what is in this file. It brings
// OpenTelemetry with it: 1.8 MB, and half a millisecond in the start of every
// verb, also of those that delegate nothing.

// Limits of a delegate.
const (
	maxDelegateOut  = 1 << 20     // bytes of its stdout
	delegateGrace   = time.Second // for its children to let go of stdout
	delegateRetries = 5           // while its file is being written
	delegatePause   = 50 * time.Millisecond
)

// A delegate is another CNI plugin that this one runs.
type delegate struct {
	what    string // as "ipam host-local", for messages
	path    string
	environ []string // passed on unchanged, but for CNI_COMMAND on rollback
	stdin   []byte   // the complete configuration, byte by byte
	stderr  io.Writer
	lock    *os.File // inherited; see lockDelegate. nil: none
}

// findDelegate looks for the program in the directories of CNI_PATH and nowhere
// else, as the specification says.
func findDelegate(key, typ, cniPath string) (string, error) {
	if cniPath == "" {
		return "", errorf(codeEnv, "environment: CNI_PATH is missing: want the directories in which %s %q is", key, typ)
	}
	for _, dir := range filepath.SplitList(cniPath) {
		if dir == "" {
			continue
		}
		// Absolute, since a bare name would be looked for in PATH.
		path, err := filepath.Abs(filepath.Join(dir, typ))
		if err != nil {
			continue
		}
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path, nil
		}
	}
	return "", badValue(key, typ, "a plugin in CNI_PATH %q", cniPath)
}

// run executes the delegate and returns its stdout. When ctx ends it is killed
// with SIGKILL. A failure is the delegate's own error with its code, or one that
// says what it did wrong.
func (d *delegate) run(ctx context.Context, command string) ([]byte, error) {
	for try := 0; ; try++ {
		out, err := d.once(ctx, command)
		if !errors.Is(err, syscall.ETXTBSY) || try == delegateRetries {
			return out, err
		}
		select {
		case <-time.After(delegatePause):
		case <-ctx.Done():
			return nil, err
		}
	}
}

func (d *delegate) once(ctx context.Context, command string) ([]byte, error) {
	stdout := &bounded{left: maxDelegateOut}
	cmd := exec.CommandContext(ctx, d.path)
	cmd.Env = append(d.environ[:len(d.environ):len(d.environ)], "CNI_COMMAND="+command) // the last one counts
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(d.stdin), stdout, d.stderr
	if f, ok := d.stderr.(unsignaled); ok {
		cmd.Stderr = f.File // itself, and no pipe to it
	}
	cmd.WaitDelay = delegateGrace
	if d.lock != nil {
		cmd.ExtraFiles = []*os.File{d.lock}
	}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return nil, errorf(codeTryAgain, "%s: %s: killed: %w", d.what, command, ctx.Err())
	case stdout.over:
		return nil, errorf(codeDecode, "%s: %s: wrote more than %d bytes", d.what, command, maxDelegateOut)
	case err == nil, errors.Is(err, exec.ErrWaitDelay): // it ended well; a child of its own has stdout
		return stdout.buf.Bytes(), nil
	case errors.As(err, &exit):
		return nil, d.failure(command, exit, stdout.buf.Bytes())
	}
	return nil, errorf(codeInternal, "%s: %s: %w", d.what, command, err)
}

// failure is the error that the delegate printed. Code and message are its own, as
// far as it has them.
func (d *delegate) failure(command string, exit *exec.ExitError, stdout []byte) error {
	var e cniError
	if err := json.Unmarshal(stdout, &e); err != nil || e.Msg == "" && e.Code == 0 {
		return errorf(codeInternal, "%s: %s: %s, and no error on stdout: %s", d.what, command, exit, show(string(stdout)))
	}
	if e.Code == 0 { // no error's: the specification begins with 1
		e.Code = codeInternal
	}
	return &cniError{Code: e.Code, Msg: fmt.Sprintf("%s: %s", d.what, e.Msg), Details: e.Details}
}

// A bounded is a buffer that takes so many bytes. More ends the writing.
type bounded struct {
	buf  bytes.Buffer
	left int
	over bool
}

func (b *bounded) Write(p []byte) (int, error) {
	if len(p) > b.left {
		b.over = true
		return 0, errors.New("too much output")
	}
	b.left -= len(p)
	return b.buf.Write(p)
}

// checkType refuses what is not the name of a program.
func checkType(key, typ string) error {
	if strings.ContainsAny(typ, "/\\\x00") || typ == "." || typ == ".." {
		return badValue(key, typ, "the name of a plugin, without a path")
	}
	return nil
}
