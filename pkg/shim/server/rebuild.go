package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// A damage is a state file that could not be read as one.
type damage struct {
	path string // where it was
	text string // what is wrong, and how it is called now
}

func damageTexts(list []damage) (out []string) {
	for _, d := range list {
		out = append(out, d.text)
	}
	return out
}

// rebuild makes records again for attachments whose state files were damaged: who
// they are, their MAC and their addresses are in their leases, what their network
// is in its own file, whose they are in the owner of their sockets. Guests stay
// connected by the descriptors that were kept. It returns the records, and how many
// stay unknown; those without a lease do, since a file's name is a hash.
func (s *Server) rebuild(ctx context.Context, damaged []damage, known []attachmentRecord) (made []attachmentRecord, unknown int, err error) {
	if len(damaged) == 0 {
		return nil, 0, nil
	}
	leases, err := s.cfg.Leases.List(ctx, "")
	if err != nil {
		s.problem(damageTexts(damaged)...)
		return nil, 0, err
	}
	byFile := map[string]ipam.Lease{}
	for _, l := range leases {
		if s.cfg.Leases.Owns(l) {
			byFile[s.state.attachmentFile(l.Key)] = l
		}
	}
	for _, d := range damaged {
		rec, err := s.recordOf(byFile, d.path, known)
		if err == nil {
			err = replaceJSON(d.path, rec)
			s.late.note(d.path)
		}
		if err != nil {
			unknown++
			s.problem(fmt.Sprintf("%s; the attachment cannot be made again: %v", d.text, err))
			continue
		}
		s.problem(fmt.Sprintf("%s; attachment %s was made again from its lease and what was kept, without the port forwards, limits, guard rules and names "+
			"that were asked for: DEL and ADD bring them back", d.text, rec.Key))
		made = append(made, rec)
	}
	return made, unknown, nil
}

// recordOf returns the record that path had, as far as it is known elsewhere.
func (s *Server) recordOf(leases map[string]ipam.Lease, path string, known []attachmentRecord) (rec attachmentRecord, err error) {
	l, ok := leases[path]
	if !ok {
		return rec, errors.New("it has no lease")
	}
	asked, granted, err := s.specOf(l.Network, known)
	if err != nil {
		return rec, err
	}
	rec = attachmentRecord{
		Version: stateVersion, Key: l.Key, UUID: interfaceID(l.Key), MAC: l.MAC, Created: l.Created,
		Owner: s.socketOwner(l.Key), Granted: granted,
		Request: shim.AttachRequest{Network: asked, Frames: s.framesOf(l.Key, granted.Driver)},
	}
	if l.MAC != vmnet.MACFromUUID(rec.UUID).String() {
		rec.Request.MAC = l.MAC // it was asked for
	}
	for _, p := range l.Addrs {
		if p.Addr().Is4() {
			rec.Addr = p
		} else {
			rec.Addr6 = p
		}
	}
	return rec, rec.valid()
}

// specOf returns what was asked for a network and granted: as its own file says, or
// else one of its attachments.
func (s *Server) specOf(network string, known []attachmentRecord) (asked, granted shim.NetworkSpec, err error) {
	if n := s.kept(network); n != nil {
		return n.Asked, n.Granted, nil
	}
	for _, r := range known {
		if r.Network == network {
			return r.Request.Network, r.Granted, nil
		}
	}
	return asked, granted, fmt.Errorf("nothing is known of network %s", network)
}

// socketOwner returns who owns the attachment's sockets, in a directory that is the
// shim's alone. Without them it is the shim's user: nobody is given what may be
// another's.
func (s *Server) socketOwner(k ipam.Key) uint32 {
	for _, kind := range []string{shim.FramesDgram, shim.FramesStream} {
		fi, err := os.Lstat(s.cfg.Dirs.Socket(k.Network, k.ContainerID, k.IfName, kind))
		if err != nil || fi.Mode().Type() != os.ModeSocket {
			continue
		}
		if st, ok := fi.Sys().(*syscall.Stat_t); ok {
			return st.Uid
		}
	}
	return s.uid
}

// framesOf tells from what was kept how the guest takes its frames.
func (s *Server) framesOf(k ipam.Key, driver string) string {
	left := s.left(k)
	device, caller := false, false
	for suffix := range left {
		device = device || strings.HasPrefix(suffix, fileDevice)
		caller = caller || strings.HasPrefix(suffix, fileCaller)
	}
	switch {
	case driver == shim.DriverTap && device && left[fileDgram] == nil && left[fileStream] == nil:
		return shim.FramesTap // it has no sockets
	case caller:
		return shim.FramesStream
	}
	return shim.FramesDgram
}

// forgetDamage removes what was set aside of an attachment that is no more.
func (s *Server) forgetDamage(k ipam.Key) error {
	return remove(s.state.attachmentFile(k) + damagedSuffix)
}
