package hostnet

import (
	"errors"
	"io"
	"io/fs"
	"net/netip"
	"os"
)

// routes returns the destinations of the main tables. The files are those of
// the calling thread, because a thread may be in another network namespace than
// its process, and net.InterfaceAddrs tells of the thread's, too.
func routes() ([]netip.Prefix, error) {
	four, err := read("/proc/thread-self/net/route", parseRoutes4)
	if err != nil {
		return nil, err
	}
	six, err := read("/proc/thread-self/net/ipv6_route", parseRoutes6)
	if err != nil {
		return nil, err
	}
	return append(four, six...), nil
}

// read parses a file; one that is not there (a kernel without IPv6) is empty.
func read(path string, parse func(io.Reader) ([]netip.Prefix, error)) (out []netip.Prefix, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if out, err = parse(f); err != nil {
		return nil, &fs.PathError{Op: "read", Path: path, Err: err}
	}
	return out, nil
}
