package server

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/vmnet-cni/vmnet/pkg/relay"
	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/shim/keeper"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// ErrRestart as the cause of the end of Serve's context says that another shim
// takes over at once: sockets stay where they are and what is kept.
var ErrRestart = errors.New("the shim is to be started again")

// deviceFiles returns duplicates of what the driver's device left. After an error it is
// all still there for another try: a device without its tap would make a new one.
func (s *Server) deviceFiles(a *attachment) (map[string]*os.File, error) {
	var files map[string]*os.File
	for suffix, kept := range s.left(a.rec.Key) {
		name, ok := strings.CutPrefix(suffix, fileDevice)
		if !ok {
			continue
		}
		f, err := keeper.Duplicate(kept, kept.Name())
		if err != nil {
			fileSet(files).close()
			return nil, err
		}
		if files == nil {
			files = map[string]*os.File{}
		}
		files[name] = f
	}
	return files, nil
}

// scarce reports whether err is for want of descriptors or memory, which may be there
// soon: what was kept for a guest is not given up for that.
func scarce(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM) || errors.Is(err, syscall.ENOBUFS)
}

// giveUp lets go of a descriptor that an earlier shim left and that is of no use.
func (s *Server) giveUp(a *attachment, suffix, what string, err error) {
	s.logOf(a.rec.Key).WithError(err).Warn(what + " could not be taken over")
	a.held.drop(suffix)
	left := s.left(a.rec.Key)
	_ = left[suffix].Close()
	delete(left, suffix)
}

// followDevice has the device's descriptors kept, as they come and go.
func (s *Server) followDevice(a *attachment) {
	fh := a.ifc.FileHolder()
	if fh == nil || a.held == nil {
		return
	}
	h := a.held
	files := fh.Files()
	for suffix, kept := range s.left(a.rec.Key) {
		if name, ok := strings.CutPrefix(suffix, fileDevice); ok {
			h.take(suffix, kept)
			if f := files[name]; f != nil && sameFile(kept, f) {
				h.take(suffix, f)
			}
		}
	}
	fh.OnFiles(func() { h.follow(fh.Files()) })
	h.follow(fh.Files())
}

// sameFile reports whether two descriptors are known to lead to one open file.
func sameFile(a, b *os.File) bool {
	x, err := a.Stat()
	if err != nil {
		return false
	}
	y, err := b.Stat()
	return err == nil && os.SameFile(x, y)
}

// keptSocket returns the bound socket of a kind that an earlier shim left, if the
// file at path is still its; nil, and the caller binds a new one.
func (s *Server) keptSocket(a *attachment, kind, path string) *os.File {
	f := s.left(a.rec.Key)[kind[:1]]
	if f == nil || a.held == nil {
		return nil
	}
	fi, err := os.Lstat(path)
	if err != nil || fi.Mode().Type() != os.ModeSocket {
		return nil // somebody removed the file: nobody could connect any more
	}
	return f
}

// resumePeers gives the relay the connected peer that an earlier shim had: the one
// that came last, if the shim died while one replaced another. After an error, which
// is scarce, it can be tried again.
func (s *Server) resumePeers(a *attachment) error {
	left := s.left(a.rec.Key)
	if a.held == nil || len(left) == 0 {
		return nil
	}
	best, number := "", 0
	for suffix := range left {
		n, err := strconv.Atoi(strings.TrimLeft(suffix, filePulled+fileCaller+fileTap+fileGiven))
		if err != nil {
			continue
		}
		a.held.past(n)
		if strings.HasPrefix(suffix, fileGiven) {
			if err := s.resumeGiven(a, suffix, left[suffix]); err != nil {
				return err
			}
		} else if n > number {
			best, number = suffix, n
		}
	}
	if best == "" {
		return nil
	}
	a.held.take(best, left[best])
	err := s.resumePeer(a, best, left[best])
	if err != nil && !scarce(err) {
		s.giveUp(a, best, "the guest's connection", err)
		return nil
	}
	return err
}

// resumeGiven takes peers again from a socket that a client gave.
func (s *Server) resumeGiven(a *attachment, suffix string, f *os.File) error {
	a.held.take(suffix, f)
	u, err := boundDatagram(f)
	if err == nil {
		err = a.relay.ListenDatagramFor(u, s.lastPeer(a.rec.Key, u.LocalAddr().String()))
	}
	switch {
	case scarce(err):
		return err
	case err != nil:
		s.giveUp(a, suffix, "a socket that was given", err)
		return nil
	}
	a.given++
	return nil
}

func (s *Server) resumePeer(a *attachment, suffix string, f *os.File) error {
	dup, err := keeper.Duplicate(f, f.Name())
	if err != nil {
		return err
	}
	mac, err := net.ParseMAC(a.rec.MAC)
	if err != nil {
		return errors.Join(err, dup.Close())
	}
	via, resume := "fd", func() (relay.Port, error) { return relay.ResumePort(dup, a.relay.MaxMessage(), a.vnetHeader(), mac) }
	switch suffix[:1] {
	case fileCaller:
		via = relay.KindStream
	case fileTap:
		via, resume = shim.ViaTap, func() (relay.Port, error) {
			return relay.NewTapPort(dup, a.maxFrame())
		}
	}
	port, err := resume()
	if err != nil {
		return err
	}
	h := a.held
	a.relay.AttachHeld(port, via, func() { h.drop(suffix) })
	return nil
}

// takenOver ends the bringing back of an attachment: what it took is open twice,
// what it did not take is of no use to anybody.
func (s *Server) takenOver(a *attachment) {
	left := s.left(a.rec.Key)
	if a.held != nil {
		for suffix := range left {
			a.held.dropUnused(suffix)
		}
	}
	left.close()
}

// dropOrphans closes what belongs to no attachment.
func (s *Server) dropOrphans() {
	known := map[string]bool{}
	for k := range s.atts {
		known[filesPrefix(k)] = true
	}
	for prefix, set := range s.inherited {
		if known[prefix] {
			continue
		}
		for suffix := range set {
			s.cfg.Log.WithField("file", prefix+suffix).Info("kept descriptor without attachment closed")
			if s.cfg.Files != nil {
				_ = s.cfg.Files.Remove(prefix + suffix) // the next shim tries again
			}
		}
		set.close()
	}
}

// announce tells the network where the guest is, and has the gateway tell the
// guest where the gateway is, after the interface was made again: what the
// network is made of may have a new address table, and the gateway a new MAC.
func (s *Server) announce(a *attachment) {
	mac, err := net.ParseMAC(a.rec.MAC)
	if err != nil {
		return
	}
	var frames [][]byte
	for _, ip := range a.rec.addrs() {
		gw := a.rec.gateway()
		if !ip.Is4() {
			gw = a.gateway6()
		}
		frames = append(frames, vmnet.Announce(mac, ip))
		if gw.IsValid() && gw.Is4() == ip.Is4() {
			frames = append(frames, vmnet.AskFor(mac, ip, gw))
		}
	}
	for _, f := range frames {
		// A header of zeros says that the frame is complete.
		f = append(make([]byte, a.ifc.Info().VnetHeader), f...)
		if err := a.ifc.Write(f); err != nil {
			s.logOf(a.rec.Key).WithError(err).Debug("guest not announced")
		}
	}
}

func (s *Server) keeperProblem() string {
	p, err := shim.KeeperProblem(s.cfg.Dirs.Runtime)
	if err != nil {
		return fmt.Sprintf("%v", err)
	}
	return p
}
