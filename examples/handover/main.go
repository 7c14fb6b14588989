// Command handover is a runtime in one page: it calls the CNI plugin, takes the frame
// fd that comes before ADD returns, and asks who has the gateway's address. A real
// runtime gives the fd to its VM.
//
//	go build -o runtime . && PATH=$PWD/../../bin:$PATH ./runtime
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/handover"
)

func main() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	dir, err := os.MkdirTemp("", "runtime")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	// The plugin finds this socket in CNI_NETNS and sends the frame fd to it.
	socket := filepath.Join(dir, "frames.sock")
	l, err := handover.Listen(socket)
	if err != nil {
		return err
	}
	defer l.Close()
	added := make(chan error, 1)
	go func() {
		err := cni(ctx, "ADD", socket)
		if err != nil {
			l.Close() // no fd will come
		}
		added <- err
	}()
	defer func() { err = errors.Join(err, cni(ctx, "DEL", socket)) }()

	offer, err := l.Accept(ctx)
	if err != nil {
		return errors.Join(err, <-added)
	}
	// Whatever the VM needs is checked here: Reject would make ADD fail.
	if err := offer.Accept(); err != nil {
		return err
	}
	if err := <-added; err != nil {
		return err
	}
	m := offer.Message
	fmt.Printf("%s %s: mac %s, mtu %d, %v\n", m.Kind, m.IfName, m.MAC, m.MTU, m.IPs)
	return who(m, offer.File)
}

// cni executes a verb of the plugin, which is looked for in PATH.
func cni(ctx context.Context, verb, socket string) error {
	cmd := exec.CommandContext(ctx, "vmnet")
	cmd.Env = append(os.Environ(), "CNI_COMMAND="+verb, "CNI_CONTAINERID=example", "CNI_IFNAME=eth0", "CNI_NETNS="+socket, "CNI_PATH=/")
	cmd.Stdin = bytes.NewReader([]byte(`{"cniVersion":"1.1.0","name":"shared","type":"vmnet","ipv6":"none"}`))
	out, err := cmd.Output()
	var refused struct{ Msg string }
	if json.Unmarshal(out, &refused) == nil && refused.Msg != "" {
		return fmt.Errorf("%s: %s", verb, refused.Msg)
	}
	return err
}

// who sends an ARP request (RFC 826) for the gateway's address, the first of the
// subnet, and waits for the answer. Each read and write is one Ethernet frame.
func who(m handover.Message, file *os.File) error {
	conn, err := net.FileConn(file)
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	defer conn.Close()
	mac, err := net.ParseMAC(m.MAC)
	if err != nil {
		return err
	}
	addr := netip.MustParsePrefix(m.IPs[0])
	gateway := addr.Masked().Addr().Next()
	frame := append([]byte{255, 255, 255, 255, 255, 255}, mac...)
	frame = append(frame, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1) // ARP, Ethernet, IPv4, a request
	frame = append(append(frame, mac...), addr.Addr().AsSlice()...)
	frame = append(append(frame, make([]byte, 6)...), gateway.AsSlice()...)
	if _, err := conn.Write(frame); err != nil {
		return err
	}
	if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	for buf := make([]byte, m.MaxFrameSize); ; {
		n, err := conn.Read(buf)
		if err != nil {
			return err
		}
		if f := buf[:n]; n >= 42 && f[12] == 8 && f[13] == 6 && f[21] == 2 {
			fmt.Printf("gateway %s is at %s\n", gateway, net.HardwareAddr(f[22:28]))
			return nil
		}
	}
}
