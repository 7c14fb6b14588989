package main

import (
	"bytes"
	"crypto/md5" //nolint:gosec // deb(5) wants MD5 in md5sums; it protects nothing
	"fmt"
	"regexp"
	"strings"
	"time"
)

// debian makes the package (deb(5), deb-control(5)).
func (r *release) debian(t target, b binaries) error {
	files, err := r.debianTree(b)
	if err != nil {
		return err
	}
	version := debianVersion(r.version)
	var sums strings.Builder
	size := 0
	for _, it := range files.withDirs() {
		if it.link == "" && !it.mode.IsDir() {
			fmt.Fprintf(&sums, "%x  %s\n", md5.Sum(it.data), it.path) //nolint:gosec // see the import
			size += len(it.data)
		}
	}
	var control tree
	for _, name := range []string{"postinst", "prerm", "postrm"} {
		if err := control.file(name, "packaging/debian/"+name, 0o755); err != nil {
			return err
		}
	}
	control = append(control,
		item{path: "control", mode: 0o644, data: fmt.Appendf(nil, debianControl, version, t.arch, (size+1023)/1024)},
		item{path: "md5sums", mode: 0o644, data: []byte(sums.String())})
	head, err := targz(control, "./", r.date)
	if err != nil {
		return err
	}
	body, err := targz(files, "./", r.date)
	if err != nil {
		return err
	}
	return r.write(fmt.Sprintf("vmnet_%s_%s.deb", version, t.arch), ar(r.date, []member{
		{"debian-binary", []byte("2.0\n")}, {"control.tar.gz", head}, {"data.tar.gz", body},
	}))
}

const debianControl = `Package: vmnet
Version: %s
Architecture: %s
Maintainer: The vmnet authors <vmnet-cni@users.noreply.github.com>
Installed-Size: %d
Section: net
Priority: optional
Recommends: nftables
Suggests: containernetworking-plugins, qemu-system
Homepage: https://github.com/vmnet-cni/vmnet
Description: network interfaces for virtual machines, as a CNI plugin
 The CNI plugin vmnet gives virtual machines and containers a network interface
 and hands the file descriptor of its frames to whoever runs the machine.
 vmnet-shim owns the networks: NAT without privileges in user space, or the
 kernel's bridges and nftables. It also acts as socket_vmnet and vmnet-helper.
`

var (
	semantic = regexp.MustCompile(`^v?([0-9]+\.[0-9]+\.[0-9]+.*)$`)
	unusual  = regexp.MustCompile(`[^A-Za-z0-9.+~]+`)
)

// debianVersion makes a version that dpkg can compare: 1.2.3-rc1 comes before 1.2.3,
// and what is no release before all.
func debianVersion(version string) string {
	if m := semantic.FindStringSubmatch(version); m != nil {
		return unusual.ReplaceAllString(strings.Replace(m[1], "-", "~", 1), ".")
	}
	return "0~" + unusual.ReplaceAllString(version, ".")
}

// A member is a file of an archive of ar(5).
type member struct {
	name string
	data []byte
}

// ar writes an archive in the common format of ar(5).
func ar(date time.Time, members []member) []byte {
	var b bytes.Buffer
	b.WriteString("!<arch>\n")
	for _, m := range members {
		fmt.Fprintf(&b, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", m.name, date.Unix(), 0, 0, "100644", len(m.data))
		b.Write(m.data)
		if len(m.data)%2 == 1 {
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}
