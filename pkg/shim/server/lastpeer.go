package server

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/relay"
)

// peerSuffix is the end of the names of the files about peers.
const peerSuffix = ".peer"

// peerFile is where it is kept who an attachment's datagram peer is, since the bound
// socket does not know it, and since when nobody is the peer.
func (s state) peerFile(k ipam.Key) string {
	return filepath.Join(s.attachments(), strings.TrimSuffix(filesPrefix(k), ".")+peerSuffix)
}

// A lastPeer is who a bound datagram socket had as its peer, or when the last peer
// went.
type lastPeer struct {
	Socket []byte    `json:"socket,omitempty"` // names as the kernel gives them, which need not be text
	Peer   []byte    `json:"peer,omitempty"`
	Gone   time.Time `json:"gone,omitzero"`
}

// notePeer writes who the datagram peer is, or when it went, or removes that when
// the peer came another way.
func (s *Server) notePeer(k ipam.Key, e relay.PeerEvent) {
	path := s.state.peerFile(k)
	last := lastPeer{Socket: []byte(e.Socket), Peer: []byte(e.Name)}
	switch {
	case !e.Connected:
		last = lastPeer{Gone: e.At.UTC()}
	case e.Name == "" || s.cfg.Files == nil:
		_ = os.Remove(path) // one that is left is asked whether it is alive
		return
	}
	// Renamed and not synced: after a reboot no peer is left.
	if err := replaceJSON(path, last); err != nil {
		s.logOf(k).WithError(err).Warn("who the guest is, or when it went, is forgotten at a restart")
	}
}

// clearPeers removes what is kept of peers whose attachments are no more: of a shim that
// was killed while it deleted them.
func (s *Server) clearPeers(recs []attachmentRecord) error {
	known := map[string]bool{}
	for _, r := range recs {
		known[s.state.peerFile(r.Key)] = true
	}
	paths, err := filepath.Glob(filepath.Join(s.state.attachments(), "*"+peerSuffix))
	if err != nil {
		return err
	}
	for _, path := range paths {
		if !known[path] {
			if err := remove(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// peerGone returns when the attachment lost its peer in an earlier shim, or zero.
func (s *Server) peerGone(k ipam.Key) time.Time {
	var p lastPeer
	if err := readJSON(s.state.peerFile(k), &p); err != nil {
		return time.Time{} // there was a peer, or never one
	}
	return p.Gone
}

// lastPeer returns the name of the peer that the datagram socket had in an earlier
// shim, or "".
func (s *Server) lastPeer(k ipam.Key, socket string) string {
	var p lastPeer
	if err := readJSON(s.state.peerFile(k), &p); err != nil || string(p.Socket) != socket {
		return "" // the guest is known again with its first frame
	}
	return string(p.Peer)
}
