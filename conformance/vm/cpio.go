package vm

import (
	"fmt"
	"io"
	"io/fs"
)

// A cpioWriter writes an archive of the format "newc", which the kernel unpacks
// as its first file system (Linux: Documentation/driver-api/early-userspace/
// buffer-format.rst). Directories must come before what is in them.
type cpioWriter struct {
	w       io.Writer
	written int64
	inode   int
	err     error // the first error; later calls do nothing
}

// Types of files, as in st_mode (inode(7)).
const (
	cpioDir  = 0o040000
	cpioFile = 0o100000
	cpioChar = 0o020000
)

// dir adds a directory.
func (c *cpioWriter) dir(name string) { c.entry(name, cpioDir|0o755, 0, 0, nil) }

// file adds a file.
func (c *cpioWriter) file(name string, perm fs.FileMode, data []byte) {
	c.entry(name, cpioFile|uint32(perm.Perm()), 0, 0, data)
}

// char adds a character device.
func (c *cpioWriter) char(name string, major, minor uint32) {
	c.entry(name, cpioChar|0o600, major, minor, nil)
}

// close adds the trailer and returns the first error.
func (c *cpioWriter) close() error {
	c.entry("TRAILER!!!", 0, 0, 0, nil)
	return c.err
}

// entry writes a header, the name and the data, each padded to 4 bytes.
func (c *cpioWriter) entry(name string, mode, major, minor uint32, data []byte) {
	c.inode++
	c.printf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		c.inode, mode,
		0, 0, // uid, gid
		1,         // links
		0,         // time
		len(data), // size
		0, 0,      // device that holds the file
		major, minor, len(name)+1,
		0, // checksum, not of this format
		name)
	c.pad()
	c.write(data)
	c.pad()
}

func (c *cpioWriter) pad() { c.write(make([]byte, -c.written&3)) }

func (c *cpioWriter) printf(format string, args ...any) {
	c.write(fmt.Appendf(nil, format, args...))
}

func (c *cpioWriter) write(p []byte) {
	if c.err != nil {
		return
	}
	n, err := c.w.Write(p)
	c.written += int64(n)
	c.err = err
}
