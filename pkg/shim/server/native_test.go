package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/conformance/libvmnet"
	"github.com/vmnet-cni/vmnet/internal/require"
	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/framework"
)

const nativeText = "from a native guest"

// nativeFrame is a frame of the local experimental Ethertype (IEEE 802) to all.
func nativeFrame(from []byte, text string) []byte {
	b := append(bytes.Repeat([]byte{0xff}, 6), from...)
	b = append(b, 0x88, 0xb5)
	return append(b, fmt.Sprintf("%-50s", text)...)
}

// playNative joins the network of the serialization on stdin as a runtime does
// that attaches natively, sends a frame, and prints the text of the one that comes
// back.
func playNative() int {
	text, err := joinNatively()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Print(text)
	return 0
}

func joinNatively() (text string, err error) {
	var s shim.Serialization
	if err := json.NewDecoder(os.Stdin).Decode(&s); err != nil {
		return "", err
	}
	d, err := framework.New(framework.Config{})
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	n, err := d.(framework.Joiner).Join(ctx, vmnet.NetworkConfig{Name: "native"}, s.Data)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	dev, err := n.Start(ctx, vmnet.Config{})
	if err != nil {
		return "", err
	}
	ifc := vmnet.NewInterface("native", dev)
	frame := nativeFrame(ifc.MAC(), nativeText)
	if _, err := ifc.WriteBatch([][]byte{frame}); err != nil {
		return "", err
	}
	buf := make([]byte, ifc.Info().MaxPacketSize)
	for ctx.Err() == nil {
		sizes := make([]int, 1)
		if _, err := ifc.ReadBatch([][]byte{buf}, sizes); errors.Is(err, vmnet.ErrNoPackets) {
			if err := ifc.WaitForEvent(ctx); err != nil {
				return "", err
			}
		} else if err != nil {
			return "", err
		} else if b := buf[:sizes[0]]; len(b) > 14 && b[12] == 0x88 && b[13] == 0xb5 {
			return strings.TrimSpace(string(b[14:])), nil
		}
	}
	return "", ctx.Err()
}

// spawnVmnet starts a shim with driver vmnet over a library that imitates a
// release of macOS, with a broker, and returns what another process needs in its
// environment to be on the same Mac.
func spawnVmnet(t *testing.T, release int) (c *shim.Client, env []string) {
	t.Helper()
	lib := libvmnet.Build(t, libvmnet.Config{Release: release})
	env = append(env, lib.Env...)
	env = append(env, libvmnet.PathEnv+"="+lib.Path, libvmnet.StartBroker(t, lib))
	d := newDirs(t)
	spawn(t, d, env...)
	return client(t, d), env
}

// onVmnet asks for a network of driver vmnet.
func onVmnet(subnet string) shim.AttachRequest {
	return shim.AttachRequest{Network: shim.NetworkSpec{Driver: shim.DriverVmnet, Subnet: netip.MustParsePrefix(subnet)}}
}

// TestNative has another process join a network by what the shim hands out, and
// exchange frames with a guest of the shim's.
func TestNative(t *testing.T) {
	c, env := spawnVmnet(t, 260000)
	a, err := c.Attach(t.Context(), "n", "c", "eth0", onVmnet("192.168.77.0/24"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Serialization(t.Context(), "n")
	status, _ := c.Status(t.Context())
	if err != nil || s.Network != "n" || s.Driver != shim.DriverVmnet || s.Key != "networkSerialization" || len(s.Data) == 0 || s.PID != status.PID || len(s.Notes) == 0 {
		t.Fatalf("serialization %+v, %v", s, err)
	}
	m, f, err := c.Frames(t.Context(), "n", "c", "eth0")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	native := exec.CommandContext(ctx, exe)
	native.Env = append(append(os.Environ(), roleEnv+"=native"), env...)
	native.Stdin = bytes.NewReader(in)
	var out, fault bytes.Buffer
	native.Stdout, native.Stderr = &out, &fault
	if err := native.Start(); err != nil {
		t.Fatal(err)
	}
	mac, err := net.ParseMAC(a.MAC)
	if err != nil {
		t.Fatal(err)
	}
	reply(t, f, m.MaxFrameSize, mac)
	if err := native.Wait(); err != nil || out.String() != "from the shim's guest" {
		t.Errorf("native guest: %q, %v\n%s", out.String(), err, fault.String())
	}
	after, err := c.Attachment(t.Context(), "n", "c", "eth0")
	if err != nil || after.Counters.ToGuest.Frames == 0 {
		t.Errorf("counters %+v, %v", after.Counters, err)
	}
	if err := c.Detach(t.Context(), "n", "c", "eth0"); err != nil {
		t.Error(err)
	}
	if _, err := c.Serialization(t.Context(), "n"); shim.CodeOf(err) != shim.CodeNotFound {
		t.Errorf("without attachments: %v, want not_found", err)
	}
}

// reply waits as a guest for the native guest's frame and sends one back.
func reply(t *testing.T, f *os.File, size int, mac []byte) {
	t.Helper()
	fd := int(f.Fd()) // blocking from here on
	buf := make([]byte, size)
	tv := syscall.NsecToTimeval(int64(patience))
	if err := syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &tv); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); ; {
		n, err := syscall.Read(fd, buf)
		if err != nil || time.Now().After(end) {
			t.Fatalf("read frame: %v", err)
		}
		if bytes.Contains(buf[:n], []byte(nativeText)) {
			break
		}
	}
	if _, err := syscall.Write(fd, nativeFrame(mac, "from the shim's guest")); err != nil {
		t.Fatal(err)
	}
}

// TestNativeUnsupported asks for the serialization of networks that have none.
func TestNativeUnsupported(t *testing.T) {
	own := onVmnet("192.168.77.0/24")
	own.Network.Gateway = netip.MustParseAddr("192.168.77.9")
	for _, tt := range []struct {
		name    string
		release int
		req     shim.AttachRequest
		want    string
	}{
		{"netstack", 260000, shim.AttachRequest{}, "driver netstack has no networks that other processes can join"},
		{"gateway of its own", 260000, own, "not a logical network"},
		{"older", 150000, onVmnet("192.168.77.0/24"), "needs macOS 26.0 or later"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, _ := spawnVmnet(t, tt.release)
			if _, err := c.Attach(t.Context(), "n", "c", "eth0", tt.req); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Serialization(t.Context(), "n"); shim.CodeOf(err) != shim.CodeUnsupported || !strings.Contains(fmt.Sprint(err), tt.want) {
				t.Errorf("%v, want unsupported with %q", err, tt.want)
			}
			a, err := do(c.Address(), "GET", "/v1/networks/n/serialization", "")
			if err != nil || a.status != 501 {
				t.Errorf("%+v, %v, want 501", a, err)
			}
		})
	}
}

// serialized is a driver whose networks can be serialized.
type serialized struct{ vmnet.Driver }

func (d serialized) Open(ctx context.Context, cfg vmnet.NetworkConfig) (vmnet.Network, error) {
	n, err := d.Driver.Open(ctx, cfg)
	return serializedNetwork{n}, err
}

type serializedNetwork struct{ vmnet.Network }

func (serializedNetwork) Serialize(context.Context) ([]byte, error) { return []byte("data"), nil }

// TestNativeOwner hides the serialization from users who do not see the network.
func TestNativeOwner(t *testing.T) {
	require.Root(t)
	cfg := config(newDirs(t))
	cfg.OtherUsers = true
	cfg.Drivers[shim.DriverNetstack] = serialized{cfg.Drivers[shim.DriverNetstack]}
	r := start(t, cfg)
	if err := os.Chmod(cfg.Dirs.ShimSocket(), 0o666); err != nil {
		t.Fatal(err)
	}
	exe := publicSelf(t, filepath.Dir(cfg.Dirs.State))
	r.attach("roots", "c", shim.AttachRequest{})
	if s, err := r.Serialization(t.Context(), "roots"); err != nil || string(s.Data) != "data" {
		t.Errorf("root: %+v, %v", s, err)
	}
	const roots, theirs = "/v1/networks/roots/serialization", "/v1/networks/theirs"
	for _, tt := range []struct{ method, path, want string }{
		{"GET", roots, "404"},
		{"PUT", theirs + "/attachments/c/eth0", "201"},
		{"GET", theirs + "/serialization", `200 {"network":"theirs","driver":"netstack","key":"networkSerialization","data":"ZGF0YQ=="`},
	} {
		if got := r.doAs(nobody, exe, tt.method, tt.path, "{}"); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s %s as another user: %s, want %s", tt.method, tt.path, got, tt.want)
		}
	}
	if _, err := r.Serialization(t.Context(), "theirs"); err != nil {
		t.Errorf("root, of another's network: %v", err)
	}
}

// TestNativeBroken asks for the serialization of a network that could not be
// brought back.
func TestNativeBroken(t *testing.T) {
	cfg := config(newDirs(t))
	r := start(t, cfg)
	r.attach("n", "c", shim.AttachRequest{})
	r.stop()
	r = start(t, withFault(cfg.Dirs, &faulty{open: func(context.Context) error { return io.ErrUnexpectedEOF }}))
	if _, err := r.Serialization(t.Context(), "n"); shim.CodeOf(err) != shim.CodeUnavailable || !strings.Contains(fmt.Sprint(err), "attachment n/c/eth0 is broken") {
		t.Errorf("%v, want unavailable", err)
	}
}
