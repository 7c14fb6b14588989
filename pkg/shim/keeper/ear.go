package keeper

import (
	"errors"
	"fmt"
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
// ID follows.
const earPrefix = "keeper-"

// drainWait bounds drain: the ear of this process hears everything, unless the machine
// has no time for it.
const drainWait = time.Minute

// NotifyPath is the path of the notify socket of the keeper with that process ID in
// its Config.Dir, which is there until a shim is ready.
func NotifyPath(dir string, pid int) string {
	return filepath.Join(dir, earPrefix+strconv.Itoa(pid))
}

// An ear is the notify socket of one life of a shim. Its path goes as soon as the
// shim is ready, and so has connected: nobody else can speak then, and a keeper
// that is killed leaves nothing.
type ear struct {
	path string
	conn *net.UnixConn
	self *Notifier // for drain
	once sync.Once
	wg   sync.WaitGroup
}

// listen binds the notify socket, and begins to read.
func (k *keeper) listen() error {
	e := &ear{path: NotifyPath(k.cfg.Dir, os.Getpid())}
	_ = os.Remove(e.path) // of an earlier process of that ID, or a shim that was never ready
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: e.path, Net: "unixgram"})
	if err != nil {
		return err
	}
	e.conn = conn
	if err = os.Chmod(e.path, 0o600); err == nil {
		e.self, err = NewNotifier(e.path)
	}
	if err == nil {
		e.self.wait = drainWait
	}
	if err != nil {
		e.hide()
		return errors.Join(err, conn.Close())
	}
	_ = conn.SetReadBuffer(1 << 20) // less makes shims wait
	k.ear = e
	e.wg.Go(func() { k.hear(e) })
	return nil
}

// hide removes the path. It is idempotent.
func (e *ear) hide() {
	e.once.Do(func() { _ = os.Remove(e.path) })
}

// close is idempotent, and fine on nil.
func (e *ear) close() {
	if e == nil {
		return
	}
	_, _ = e.conn.Close(), e.self.Close()
	e.hide()
	e.wg.Wait()
}

// drain returns when every message that was sent before has been obeyed: a shim
// may have died with messages on their way.
func (k *keeper) drain() {
	if err := k.ear.self.Sync(); err != nil {
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

// hear takes messages until the socket is closed. Bad ones do no harm.
func (k *keeper) hear(e *ear) {
	buf, oob := make([]byte, maxMessage+1), make([]byte, unix.CmsgSpace(4*maxRights))
	bad := 0
	complain := func(err error) {
		if bad++; bad&(bad-1) == 0 {
			k.cfg.Logf("message: %v; %d were bad so far", err, bad) // at 1, 2, 4, 8 …
		}
	}
	for {
		n, on, _, _, err := e.conn.ReadMsgUnix(buf, oob)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			complain(err)
			time.Sleep(time.Millisecond) // a want of memory
			continue
		}
		fds := rights(oob[:on])
		m, err := parse(buf[:n])
		if err == nil && m.store && len(fds) == 0 {
			err = fmt.Errorf("keep %s: no descriptor came with it", m.name) // or there was no room for it
		}
		if err != nil {
			closeAll(fds)
			complain(err)
			continue
		}
		if m.ready {
			e.hide()
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
