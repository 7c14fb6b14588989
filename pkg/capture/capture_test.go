package capture_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/vmnet-cni/vmnet/internal/leak"
	"github.com/vmnet-cni/vmnet/internal/require"
	"github.com/vmnet-cni/vmnet/pkg/capture"
)

func TestMain(m *testing.M) { leak.Main(m, nil) }

// frames returns frames of many kinds, cut off ones among them.
func frames(t testing.TB) [][]byte {
	t.Helper()
	macs := []net.HardwareAddr{{2, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 2}, {255, 255, 255, 255, 255, 255}, {0x33, 0x33, 0, 0, 0, 1}}
	v4 := []string{"10.0.0.1", "10.0.0.2", "192.168.1.9"}
	v6 := []string{"fd00::1", "fd00::2", "2001:db8::9"}
	r := rand.New(rand.NewPCG(1, 2))
	var all [][]byte
	add := func(ls ...gopacket.SerializableLayer) {
		b := gopacket.NewSerializeBuffer()
		if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true}, ls...); err != nil {
			t.Fatal(err)
		}
		all = append(all, b.Bytes())
	}
	for i := range 400 {
		eth := &layers.Ethernet{SrcMAC: macs[r.IntN(2)], DstMAC: macs[r.IntN(4)]}
		var ip gopacket.SerializableLayer
		six := i%2 == 1
		proto := []layers.IPProtocol{layers.IPProtocolTCP, layers.IPProtocolUDP, layers.IPProtocolICMPv4, layers.IPProtocolICMPv6, layers.IPProtocolSCTP}[r.IntN(5)]
		if six {
			eth.EthernetType = layers.EthernetTypeIPv6
			ip = &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: proto, SrcIP: net.ParseIP(v6[r.IntN(3)]), DstIP: net.ParseIP(v6[r.IntN(3)])}
		} else {
			eth.EthernetType = layers.EthernetTypeIPv4
			four := &layers.IPv4{Version: 4, TTL: 64, Protocol: proto, SrcIP: net.ParseIP(v4[r.IntN(3)]).To4(), DstIP: net.ParseIP(v4[r.IntN(3)]).To4()}
			if r.IntN(8) == 0 {
				four.FragOffset = 100
			}
			ip = four
		}
		port := func() uint16 { return []uint16{22, 53, 67, 80, 8080}[r.IntN(5)] }
		payload := gopacket.Payload(make([]byte, r.IntN(300)))
		switch proto {
		case layers.IPProtocolTCP:
			add(eth, ip, &layers.TCP{SrcPort: layers.TCPPort(port()), DstPort: layers.TCPPort(port())}, payload)
		case layers.IPProtocolUDP:
			add(eth, ip, &layers.UDP{SrcPort: layers.UDPPort(port()), DstPort: layers.UDPPort(port())}, payload)
		default:
			raw := make([]byte, 8)
			binary.BigEndian.PutUint16(raw, port())
			add(eth, ip, gopacket.Payload(raw), payload)
		}
		if r.IntN(6) == 0 {
			add(&layers.Ethernet{SrcMAC: macs[r.IntN(2)], DstMAC: macs[2], EthernetType: layers.EthernetTypeARP}, &layers.ARP{
				AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: 1,
				SourceHwAddress: macs[0], SourceProtAddress: net.ParseIP(v4[r.IntN(3)]).To4(),
				DstHwAddress: make([]byte, 6), DstProtAddress: net.ParseIP(v4[r.IntN(3)]).To4(),
			})
		}
	}
	return all
}

// exprs are filters; tcpdump understands them all.
var exprs = []string{
	"ip", "ip6", "arp", "tcp", "udp", "icmp", "icmp6", "arp or icmp6", "not ip6",
	"host 10.0.0.1", "src host 10.0.0.1", "dst host fd00::2", "host 2001:db8::9",
	"net 10.0.0.0/8", "src net 192.168.0.0/16", "dst net fd00::/16",
	"port 53", "src port 80", "dst port 22", "tcp port 80", "udp dst port 67", "portrange 22-67", "tcp src portrange 80-9000",
	"ether src 02:00:00:00:00:01", "ether dst 02:00:00:00:00:02", "ether host 02:00:00:00:00:01", "ether broadcast", "ether multicast",
	"less 100", "greater 200", "not port 22", "! tcp && ! udp",
	"(tcp or udp) and port 53", "tcp port 80 or host 10.0.0.2 and not arp", "ip and (src host 10.0.0.1 or src host 10.0.0.2) and greater 60",
}

// TestFilter compares what filters choose with what tcpdump chooses.
func TestFilter(t *testing.T) {
	tcpdump := require.Tool(t, "tcpdump")
	all := frames(t)
	file := filepath.Join(t.TempDir(), "all.pcap")
	var b bytes.Buffer
	w := pcapgo.NewWriter(&b)
	if err := w.WriteFileHeader(1<<16, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if err := w.WritePacket(gopacket.CaptureInfo{CaptureLength: len(f), Length: len(f)}, f); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, expr := range exprs {
		f, err := capture.ParseFilter(expr)
		if err != nil {
			t.Error(err)
			continue
		}
		n := 0
		for _, frame := range all {
			if f.Match(frame, len(frame)) {
				n++
			}
		}
		// It may drop its privileges: it reads a pipe, and no file.
		cmd := exec.Command(tcpdump, "-n", "-r", "-", "-w", "-", expr)
		cmd.Stdin = bytes.NewReader(b.Bytes())
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("tcpdump %s: %v", expr, err)
		}
		want := 0
		r, err := pcapgo.NewReader(bytes.NewReader(out))
		if err != nil {
			t.Fatal(err)
		}
		for {
			if _, _, err := r.ReadPacketData(); err != nil {
				break
			}
			want++
		}
		if n != want || want == 0 || want == len(all) {
			t.Errorf("%s: %d of %d frames, tcpdump %d", expr, n, len(all), want)
		}
	}
}

func TestFilterErrors(t *testing.T) {
	for text, want := range map[string]string{
		"foo": `"foo"`, "host": `host ""`, "host x": `host "x"`, "net 10.0.0.1/8": "host bits", "port 99999": "99999",
		"portrange 5": "portrange", "portrange 9-5": "9-5", "(tcp": "want )", "tcp)": `unexpected ")"`, "tcp and": "at the end",
		"not": "at the end", "ether": "ether", "ether src 1": `"1"`, "less x": `less "x"`, "tcp udp": `"udp"`, "src tcp": "tcp",
		strings.Repeat("(", 2000): "2000 bytes",
	} {
		if _, err := capture.ParseFilter(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20s: %v, want %s", text, err, want)
		}
	}
}

func FuzzFilter(f *testing.F) {
	for _, e := range exprs {
		f.Add(e, []byte("\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x08\x00E"))
	}
	for i, frame := range frames(f) {
		if i%40 == 0 {
			f.Add(exprs[i%len(exprs)], frame)
		}
	}
	f.Fuzz(func(t *testing.T, text string, frame []byte) {
		if flt, err := capture.ParseFilter(text); err == nil {
			flt.Match(frame, len(frame))
		}
	})
}

// packets reads a capture.
func packets(t *testing.T, r io.Reader) (list [][]byte, outbound int, comments []string, ng *pcapgo.NgReader) {
	t.Helper()
	ng, err := pcapgo.NewNgReader(r, pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	for {
		data, _, opts, err := ng.ReadPacketDataWithOptions()
		if errors.Is(err, io.EOF) {
			return list, outbound, comments, ng
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, data)
		if opts.Flags != nil && opts.Flags.Direction == pcapgo.NgEpbFlagDirectionOutbound {
			outbound++
		}
		comments = append(comments, opts.Comments...)
	}
}

func TestSession(t *testing.T) {
	s := capture.New(capture.Config{Name: "net/c/eth0", SnapLen: 60})
	frame := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, 14+i) }
	ctx, cancel := context.WithCancel(t.Context())
	var b bytes.Buffer
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Run(ctx, &b, 100, nil); err != nil {
			t.Error(err)
		}
	})
	for i := range 100 {
		s.Frame(i%4 == 0, frame(i))
	}
	wg.Wait()
	cancel()
	list, out, _, ng := packets(t, &b)
	if len(list) != 100 || out != 25 {
		t.Fatalf("%d frames, %d outbound", len(list), out)
	}
	for i, f := range list {
		if want := frame(i); !bytes.Equal(f, want[:min(60, len(want))]) {
			t.Fatalf("frame %d: %x", i, f)
		}
	}
	if i, err := ng.Interface(0); err != nil || i.Name != "net/c/eth0" || i.SnapLength != 60 || i.Statistics.PacketsReceived != 100 {
		t.Errorf("interface %+v, %v", i, err)
	}
}

// A writer that is slow costs frames of the capture, and nobody waits for it.
func TestLoss(t *testing.T) {
	s := capture.New(capture.Config{Queue: 1}) // the least
	const sent = 10000
	for range sent {
		s.Frame(false, make([]byte, 100))
	}
	seen, lost := s.Counts()
	if seen != sent || lost == 0 || lost == sent {
		t.Fatalf("%d seen, %d lost", seen, lost)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var b bytes.Buffer
	err := s.Run(ctx, &b, 0, func() error { // the queue is empty
		if lost > 0 {
			lost = 0
			s.Frame(true, make([]byte, 60)) // says how many were lost before it
		} else {
			cancel()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	list, _, comments, ng := packets(t, &b)
	_, lost = s.Counts()
	if uint64(len(list))+lost != sent+1 || len(comments) != 1 || comments[0] != fmt.Sprintf("%d frames lost by the capture before this one", lost) {
		t.Errorf("%d frames, %d lost, comments %q", len(list), lost, comments)
	}
	if i, _ := ng.Interface(0); i.Statistics.PacketsDropped != lost {
		t.Errorf("statistics %+v", i.Statistics)
	}
}

func TestNoAllocations(t *testing.T) {
	s := capture.New(capture.Config{Queue: 64 << 20})
	f := make([]byte, 1514)
	if n := testing.AllocsPerRun(1000, func() { s.Frame(false, f) }); n != 0 {
		t.Errorf("%v allocations for a frame", n)
	}
}

func TestRing(t *testing.T) {
	s := capture.New(capture.Config{Name: "ring"})
	for i := range 2000 {
		s.Frame(false, binary.BigEndian.AppendUint32(make([]byte, 200), uint32(i)))
	}
	path := filepath.Join(t.TempDir(), "frames.pcapng")
	r, err := capture.NewRing(path, capture.MinRing, 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context(), r, 2000, nil); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(filepath.Dir(path), "frames-*.pcapng"))
	if err != nil || len(files) != 3 {
		t.Fatalf("files %v, %v", files, err)
	}
	last := -1
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil || len(data) > capture.MinRing {
			t.Fatalf("%s: %d bytes, %v", name, len(data), err)
		}
		list, _, _, _ := packets(t, bytes.NewReader(data))
		for _, f := range list {
			n := int(binary.BigEndian.Uint32(f[200:]))
			if last >= 0 && n != last+1 {
				t.Fatalf("%s: frame %d after %d", name, n, last)
			}
			last = n
		}
	}
	if last != 1999 {
		t.Errorf("the last frame is %d", last)
	}
}

func BenchmarkFrame(b *testing.B) {
	flt, err := capture.ParseFilter("tcp port 80 and net " + netip.MustParsePrefix("10.0.0.0/8").String())
	if err != nil {
		b.Fatal(err)
	}
	for name, f := range map[string]*capture.Filter{"all": nil, "filter": flt} {
		b.Run(name, func(b *testing.B) {
			s := capture.New(capture.Config{Filter: f})
			ctx, cancel := context.WithCancel(b.Context())
			var wg sync.WaitGroup
			wg.Go(func() { _ = s.Run(ctx, io.Discard, 0, nil) })
			frame := make([]byte, 1514)
			b.SetBytes(1514)
			for b.Loop() {
				s.Frame(false, frame)
			}
			cancel()
			wg.Wait()
		})
	}
}
