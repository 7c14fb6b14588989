package etcdstore

import (
	"strings"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
)

// DefaultPrefix is where the keys of a fleet lie unless Config says otherwise.
// The number is the version of what they hold.
const DefaultPrefix = "/vmnet/ipam/1/"

// A layout says which etcd keys the records have. Below the prefix are
//
//	n/NETWORK NUL TABLE SOH REST   a record whose ipam key is NETWORK NUL REST
//	n/KEY NUL TABLE NUL            a record whose ipam key holds no NUL
//	g/NETWORK                      who last changed the network; see commit
//	a/MACHINE                      there while the machine's shim lives
//	h/MACHINE                      there while the machine may hold leases
//	m/MACHINE                      there as long as the machine holds leases
//	t/NETWORK NUL LEASE            who waits to write the network; see turn
//	reaper                         who frees the leases of dead machines
//
// so that all records of a network share one prefix, for etcd's access rules,
// for watches and for people. Within one table, etcd's order of the keys is that
// of the ipam keys.
type layout struct{ prefix string }

const (
	endNetwork = "\x00" // ends the network, which holds none
	plain      = '\x00' // ends the table; the ipam key is the network alone
	inNetwork  = '\x01' // ends the table; the rest follows
)

func (l layout) records() string            { return l.prefix + "n/" }
func (l layout) generations() string        { return l.prefix + "g/" }
func (l layout) generation(n string) string { return l.generations() + n }
func (l layout) aliveAll() string           { return l.prefix + "a/" }
func (l layout) alive(m string) string      { return l.aliveAll() + m }
func (l layout) heldAll() string            { return l.prefix + "h/" }
func (l layout) held(m string) string       { return l.heldAll() + m }
func (l layout) machines() string           { return l.prefix + "m/" }
func (l layout) machine(m string) string    { return l.machines() + m }
func (l layout) queue(n string) string      { return l.prefix + "t/" + n + "\x00" }
func (l layout) reaper() string             { return l.prefix + "reaper" }

// network returns the network of an ipam key.
func network(key string) string {
	n, _, _ := strings.Cut(key, "\x00")
	return n
}

// encode returns the etcd key of a record.
func (l layout) encode(t ipam.Table, key string) string {
	n, rest, ok := strings.Cut(key, "\x00")
	if !ok {
		return l.records() + key + endNetwork + string(t) + string(plain)
	}
	return l.records() + n + endNetwork + string(t) + string(inNetwork) + rest
}

// decode is the inverse of encode. ok is false for a key that encode never makes.
func (l layout) decode(etcdKey string) (t ipam.Table, key string, ok bool) {
	s, ok := strings.CutPrefix(etcdKey, l.records())
	if !ok {
		return "", "", false
	}
	n, s, ok := strings.Cut(s, endNetwork)
	i := strings.IndexAny(s, "\x00\x01")
	if !ok || i < 0 {
		return "", "", false
	}
	t = ipam.Table(s[:i])
	if s[i] == inNetwork {
		return t, n + "\x00" + s[i+1:], true
	}
	return t, n, i+1 == len(s)
}

// scanRange returns the etcd keys [from, end) among which the keys of the table
// that begin with prefix are. Unless exact, keys of other tables are there too.
func (l layout) scanRange(t ipam.Table, prefix string) (from, end string, exact bool) {
	if strings.Contains(prefix, "\x00") {
		from = l.encode(t, prefix)
		return from, prefixEnd(from), true
	}
	from = l.records() + prefix
	return from, prefixEnd(from), false
}

// skip returns where a scan of table t goes on behind etcdKey: the next key, or
// where t begins or would begin next, so that other tables are passed over.
func (l layout) skip(t ipam.Table, etcdKey string) string {
	next := etcdKey + "\x00"
	other, key, ok := l.decode(etcdKey)
	if !ok || other == t {
		return next
	}
	net := l.records() + network(key) + endNetwork
	if other < t {
		return max(next, net+string(t))
	}
	return max(next, net+"\xff") // behind every table of ours; others may write here, too
}

// prefixEnd returns the first key behind those that begin with prefix. Ours end
// in more than 0xff bytes.
func prefixEnd(prefix string) string {
	b := []byte(prefix)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] < 0xff {
			b[i]++
			return string(b[:i+1])
		}
	}
	return "\x00" // etcd: to the end of all keys
}
