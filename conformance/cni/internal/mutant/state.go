package mutant

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// A record is an attachment, in a file of its own.
type record struct {
	ID     string     `json:"id"`
	IfName string     `json:"ifname"`
	NetNS  string     `json:"netns"`
	MAC    string     `json:"mac"`
	MTU    int        `json:"mtu"`
	IP     netip.Addr `json:"ip"`
	Socket string     `json:"socket"`
	Conf   string     `json:"conf"` // hash of the configuration
	At     time.Time  `json:"at"`
	Lost   bool       `json:"lost,omitempty"` // its forwarded ports were taken away
}

// file returns the path of a file that is not an attachment's.
func (c *call) file(name string) string { return filepath.Join(os.Getenv(DirEnv), name) }

func (c *call) network() string {
	name, _ := c.top["name"].(string)
	return c.file("net-" + name)
}

func (c *call) key() string { return hash(c.id + "\x00" + c.ifname) }

func (c *call) recordFile() string { return filepath.Join(c.network(), c.key()+".json") }

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:6])
}

// lock is held by whoever changes records. It ends with the process.
func (c *call) lock() error {
	f, err := os.OpenFile(c.file("lock"), os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	// The file is never closed: the lock is the process's until it ends.
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
}

// records returns all records of a network, by their files. One that cannot be
// read is an ADD that was cut off.
func records(network string) map[string]record {
	all := map[string]record{}
	files, _ := filepath.Glob(filepath.Join(network, "*.json"))
	for _, name := range files {
		var r record
		if raw, err := os.ReadFile(name); err == nil {
			_ = json.Unmarshal(raw, &r)
			all[name] = r
		}
	}
	return all
}

// read returns the record of the call's attachment.
func (c *call) read() (record, bool) {
	r, ok := records(c.network())[c.recordFile()]
	return r, ok
}

// write keeps the record. A process that is killed in it leaves a file that has
// the right name, which is all that DEL needs.
func (c *call) write(r record) error {
	if err := os.MkdirAll(c.network(), 0o755); err != nil {
		return err
	}
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if fault("L02") { // the file is there before what is in it, and may go meanwhile
		f, err := os.Create(c.recordFile())
		if err != nil {
			return err
		}
		time.Sleep(100 * time.Millisecond)
		_, err = f.Write(raw)
		return errors.Join(err, f.Close())
	}
	return os.WriteFile(c.recordFile(), raw, 0o600)
}

// litter leaves a file that nobody removes.
func (c *call) litter(name string) {
	_ = os.WriteFile(c.file(fmt.Sprintf("litter-%s-%d", name, os.Getpid())), nil, 0o600)
}

// allocate finds a free address: the first of want, where any are wanted.
func (c *call) allocate(want []netip.Addr) (netip.Addr, error) {
	taken := map[netip.Addr]bool{}
	for _, r := range records(c.network()) {
		taken[r.IP] = true
	}
	if len(want) > 0 {
		if taken[want[0]] {
			return want[0], failf(101, "address %s is taken", want[0])
		}
		return want[0], nil
	}
	first := c.conf.Subnet.Masked().Addr().Next() // the gateway
	for ip := first.Next(); c.conf.Subnet.Contains(ip.Next()); ip = ip.Next() {
		if !taken[ip] {
			return ip, nil
		}
	}
	return first, failf(102, "no address of %s is free", c.conf.Subnet)
}

// socket makes a socket on which nobody listens.
func (c *call) socket() (string, error) {
	path := c.file("s-" + hash(c.network()+c.key()))
	if fault("E11") && len(c.id) > 50 {
		return path + c.id, nil // such a path cannot even be bound
	}
	_ = os.Remove(path)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return "", err
	}
	l.SetUnlinkOnClose(false)
	return path, l.Close()
}

// drop removes an attachment's files.
func drop(file string, r record, socket string) error {
	var errs []error
	for _, name := range []string{socket, file} {
		if name == "" {
			continue
		}
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	_ = r
	return errors.Join(errs...)
}

func goodMAC(s string) bool {
	mac, err := net.ParseMAC(s)
	return err == nil && len(mac) == 6 && mac[0]&1 == 0
}

func macOf(key string) string {
	return fmt.Sprintf("02:%s:%s:%s:%s:%s", key[0:2], key[2:4], key[4:6], key[6:8], key[8:10])
}

// confHash is what DEL must not look at.
func (c *call) confHash() string {
	raw, _ := json.Marshal([]any{c.top["dns"], c.top["capabilities"]})
	return hash(string(raw))
}

// otherRole is a program that the plugin starts or that breaks its state.
func otherRole(role string) int {
	switch role {
	case "hold":
		time.Sleep(15 * time.Second) // far longer than the judge waits
		return 0
	case "drift":
		return drift()
	}
	fmt.Fprintf(os.Stderr, "mutant: unknown role %q\n", role)
	return 2
}

// drift is the hook.
func drift() int {
	c := &call{env: readEnv(), top: map[string]any{"name": os.Getenv("CNI_NETWORK")}}
	what := os.Getenv("CNI_DRIFT")
	var err error
	switch what {
	case "daemon-stop":
		err = os.WriteFile(c.file("daemon"), []byte("down"), 0o600)
	case "daemon-hang":
		err = os.WriteFile(c.file("daemon"), []byte("hung"), 0o600)
	case "daemon-start", "daemon-resume":
		err = os.Remove(c.file("daemon"))
	case "unable":
		err = os.WriteFile(c.file("unable"), nil, 0o600)
	case "able":
		err = os.Remove(c.file("unable"))
	case "interface", "reservation":
		err = os.Remove(c.recordFile())
	default:
		return c.driftRecord(what)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func (c *call) driftRecord(what string) int {
	r, ok := c.read()
	if !ok {
		fmt.Fprintln(os.Stderr, "mutant: no such attachment")
		return 1
	}
	switch what {
	case "mac":
		r.MAC = "02:00:00:00:00:99"
	case "mtu":
		r.MTU--
	case "address":
		r.IP = r.IP.Next()
	case "socket":
		_ = os.Remove(r.Socket)
	case "forward":
		r.Lost = true
	default:
		return 77
	}
	if err := c.write(r); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func hasPath(netns string) bool { return strings.HasPrefix(netns, "/") }
