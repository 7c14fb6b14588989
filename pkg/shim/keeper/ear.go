package keeper

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// earPrefix is what the names of notify sockets begin with; the keeper's process
// ID follows, so that one that leaves removes its own and no other's.
const earPrefix = "keeper-"

// NotifyPath is the path of the notify socket of the keeper with that process ID in
// its Config.Dir.
func NotifyPath(dir string, pid int) string {
	return filepath.Join(dir, earPrefix+strconv.Itoa(pid))
}

// An ear is the keeper's notify socket.
type ear struct {
	conn *net.UnixConn
	path string
	wg   sync.WaitGroup
}

// listen binds the notify socket, removes those of dead keepers, and begins to
// read.
func (k *keeper) listen() (*ear, error) {
	clearEars(k.cfg.Dir)
	e := &ear{path: NotifyPath(k.cfg.Dir, os.Getpid())}
	_ = os.Remove(e.path) // of an earlier process of that ID
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: e.path, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	e.conn = conn
	if err := os.Chmod(e.path, 0o600); err != nil {
		e.close()
		return nil, err
	}
	_ = conn.SetReadBuffer(1 << 20) // less makes shims wait
	e.wg.Go(func() { k.hear(conn) })
	return e, nil
}

// close is idempotent.
func (e *ear) close() {
	_ = e.conn.Close()
	_ = os.Remove(e.path)
	e.wg.Wait()
}

// drain returns when every message that was sent before has been obeyed: a shim
// may have died with messages on their way.
func (k *keeper) drain() {
	n, err := NewNotifier(k.ear.path)
	if err == nil {
		err = errors.Join(n.Sync(), n.Close())
	}
	if err != nil {
		k.cfg.Logf("messages of the last shim: %v", err)
	}
}

// clearEars removes the notify sockets of keepers that are no more.
func clearEars(dir string) {
	entries, _ := os.ReadDir(dir) // nothing is lost but tidiness
	for _, d := range entries {
		if !strings.HasPrefix(d.Name(), earPrefix) || d.Type() != os.ModeSocket {
			continue
		}
		path := filepath.Join(dir, d.Name())
		c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
		if err != nil {
			_ = os.Remove(path)
			continue
		}
		_ = c.Close()
	}
}

// hear takes messages until the socket is closed.
func (k *keeper) hear(conn *net.UnixConn) {
	buf, oob := make([]byte, maxMessage+1), make([]byte, unix.CmsgSpace(4*maxRights))
	for {
		n, on, _, _, err := conn.ReadMsgUnix(buf, oob)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			k.cfg.Logf("message: %v", err)
			time.Sleep(time.Millisecond) // a want of descriptors; the kernel has closed them
			continue
		}
		fds := rights(oob[:on])
		m, err := parse(buf[:n])
		if err != nil {
			closeAll(fds)
			k.cfg.Logf("message: %v", err)
			continue
		}
		k.obey(m, fds)
	}
}

// rights returns the descriptors that came with a message. What did not fit, the
// kernel has closed.
func rights(oob []byte) (fds []int) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for i := range msgs {
		got, err := unix.ParseUnixRights(&msgs[i])
		if err == nil {
			fds = append(fds, got...)
		}
	}
	return fds
}

// obey does what a message says. It owns fds.
func (k *keeper) obey(m message, fds []int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if m.ready && k.now.ready.IsZero() {
		k.now.ready = time.Now()
	}
	k.now.stopping = k.now.stopping || m.stopping
	if m.pid != 0 && k.now.pid == 0 {
		k.now.pid = m.pid
	}
	switch {
	case m.store:
		if err := k.store.put(m.name, fds); err != nil && k.store.denied&(k.store.denied-1) == 0 {
			k.cfg.Logf("%v; %d refused so far", err, k.store.denied) // at 1, 2, 4, 8 …
		}
	case m.remove:
		k.store.remove(m.name)
		closeAll(fds)
	default:
		closeAll(fds) // BARRIER's among them: closing is the answer
	}
}
