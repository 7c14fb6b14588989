//go:build (darwin || linux) && (amd64 || arm64)

package framework

import (
	"bufio"
	"fmt"
	"maps"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"github.com/vmnet-cni/vmnet/conformance/libvmnet"
	"github.com/vmnet-cni/vmnet/internal/require"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// values are the lines of testdata/values.txt.
type values struct {
	constants map[string]uint64
	keys      map[string]string
	layouts   map[string]map[string]uint64 // "" is the structure's size
}

func readValues(t *testing.T) values {
	t.Helper()
	f, err := os.Open("testdata/values.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	v := values{constants: map[string]uint64{}, keys: map[string]string{}, layouts: map[string]map[string]uint64{}}
	for s := bufio.NewScanner(f); s.Scan(); {
		w := strings.Fields(s.Text())
		switch {
		case len(w) == 0 || w[0] == "#":
		case len(w) == 3 && w[0] == "constant":
			v.constants[w[1]] = number(t, w[2])
		case len(w) == 3 && w[0] == "key":
			v.keys[w[1]] = w[2]
		case len(w) > 3 && w[0] == "layout":
			l := map[string]uint64{"": number(t, w[2])}
			for _, field := range w[3:] {
				name, offset, _ := strings.Cut(field, "=")
				l[name] = number(t, offset)
			}
			v.layouts[w[1]] = l
		default:
			t.Fatalf("line %q: want constant, key or layout", s.Text())
		}
	}
	return v
}

// number reads a number as C has it: 1000, 0xfffe, 1 << 25, ~0ull.
func number(t *testing.T, text string) uint64 {
	t.Helper()
	if a, b, ok := strings.Cut(text, " << "); ok {
		return number(t, a) << number(t, b)
	}
	if rest, ok := strings.CutPrefix(text, "~"); ok {
		return ^number(t, rest)
	}
	n, ok := new(big.Int).SetString(strings.TrimSuffix(text, "ull"), 0)
	if !ok || !n.IsUint64() {
		t.Fatalf("%q is not a number", text)
	}
	return n.Uint64()
}

// TestHeaderValues compares constants and types of keys in the headers of
// conformance/libvmnet with the facts: none missing, none unknown.
func TestHeaderValues(t *testing.T) {
	declared, err := libvmnet.Declarations()
	if err != nil {
		t.Fatal(err)
	}
	constants, keys := map[string]uint64{}, map[string]string{}
	for _, d := range declared {
		if d.Kind == libvmnet.Constant {
			constants[d.Name] = number(t, d.Value)
		}
		if d.XPCType != "" {
			keys[d.Name] = d.XPCType
		}
	}
	v := readValues(t)
	if diff := cmp.Diff(v.constants, constants); diff != "" {
		t.Errorf("constants (-facts +headers):\n%s", diff)
	}
	if diff := cmp.Diff(v.keys, keys); diff != "" {
		t.Errorf("types of keys (-facts +headers):\n%s", diff)
	}
}

// TestValues compares the numbers that the driver uses with the facts.
func TestValues(t *testing.T) {
	want := readValues(t).constants
	got := map[string]uint64{
		"VMNET_HOST_MODE":                   modeNumber[vmnet.Host],
		"VMNET_SHARED_MODE":                 modeNumber[vmnet.Shared],
		"VMNET_BRIDGED_MODE":                modeNumber[vmnet.Bridged],
		"VMNET_INTERFACE_PACKETS_AVAILABLE": packetsAvailable,
		"VMNET_SUCCESS":                     uint64(success),
		"VMNET_FAILURE":                     uint64(vmnet.Failure),
		"VMNET_MEM_FAILURE":                 uint64(vmnet.MemFailure),
		"VMNET_INVALID_ARGUMENT":            uint64(vmnet.InvalidArgument),
		"VMNET_SETUP_INCOMPLETE":            uint64(vmnet.SetupIncomplete),
		"VMNET_INVALID_ACCESS":              uint64(vmnet.InvalidAccess),
		"VMNET_PACKET_TOO_BIG":              uint64(vmnet.PacketTooBig),
		"VMNET_BUFFER_EXHAUSTED":            uint64(vmnet.BufferExhausted),
		"VMNET_TOO_MANY_PACKETS":            uint64(vmnet.TooManyPackets),
		"VMNET_SHARING_SERVICE_BUSY":        uint64(vmnet.ServiceBusy),
		"VMNET_NOT_AUTHORIZED":              uint64(vmnet.NotAuthorized),
		"LIBVMNET_BLOCK_HAS_COPY_DISPOSE":   blockHasCopyDispose,
	}
	for name, n := range want {
		_, used := got[name]
		switch {
		case !used && strings.HasPrefix(name, "VMNET_"):
			t.Errorf("%s: the driver does not know it", name)
		case used && got[name] != n:
			t.Errorf("%s = %d, want %d", name, got[name], n)
		}
	}
	if afINET != 2 || afINET6 != 30 { // of Darwin, on Linux as well
		t.Errorf("AF_INET = %d, AF_INET6 = %d, want 2 and 30", afINET, afINET6)
	}
}

// TestLayout compares the structures that C reads with the facts.
func TestLayout(t *testing.T) {
	var (
		d    pktDesc
		v    iovec
		b    blockLiteral
		desc blockDescriptor
		r    batch
	)
	got := map[string]map[string]uint64{
		"vmpktdesc": {"": size(d), "vm_pkt_size": at(unsafe.Offsetof(d.size)), "vm_pkt_iov": at(unsafe.Offsetof(d.iov)),
			"vm_pkt_iovcnt": at(unsafe.Offsetof(d.iovcnt)), "vm_flags": at(unsafe.Offsetof(d.flags))},
		"iovec": {"": size(v), "iov_base": at(unsafe.Offsetof(v.base)), "iov_len": at(unsafe.Offsetof(v.len))},
		// What a block captured comes after its layout.
		"libvmnet_block_layout": {"": at(unsafe.Offsetof(b.handle)), "isa": at(unsafe.Offsetof(b.isa)), "flags": at(unsafe.Offsetof(b.flags)),
			"reserved": at(unsafe.Offsetof(b.reserved)), "invoke": at(unsafe.Offsetof(b.invoke)), "descriptor": at(unsafe.Offsetof(b.desc))},
		"libvmnet_block_descriptor": {"": size(desc), "reserved": at(unsafe.Offsetof(desc.reserved)), "size": at(unsafe.Offsetof(desc.size)),
			"copy": at(unsafe.Offsetof(desc.copy)), "dispose": at(unsafe.Offsetof(desc.dispose))},
	}
	if diff := cmp.Diff(readValues(t).layouts, got); diff != "" {
		t.Errorf("layouts (-facts +driver):\n%s", diff)
	}
	// A block has one captured word; int *pktcnt; three words of arguments.
	if size(b) != 40 || size(r.count) != 4 || size(r.args) != 24 {
		t.Errorf("sizes %d, %d, %d, want 40, 4, 24", size(b), size(r.count), size(r.args))
	}
}

func size[T any](v T) uint64 { return uint64(unsafe.Sizeof(v)) }

func at(offset uintptr) uint64 { return uint64(offset) }

// TestHeaderLayout has a C compiler print the layouts of the headers, and
// compares them with the facts.
func TestHeaderLayout(t *testing.T) {
	require.Linux(t)
	clang := require.Tool(t, "clang")
	want := readValues(t).layouts
	var src strings.Builder
	src.WriteString("#include <stdio.h>\n#include \"block.h\"\n#include \"vmnet/vmnet.h\"\nint main(void) {\n")
	for _, s := range slices.Sorted(maps.Keys(want)) {
		fmt.Fprintf(&src, "printf(\"%s . %%zu\\n\", sizeof(struct %s));\n", s, s)
		for field := range want[s] {
			if field != "" {
				fmt.Fprintf(&src, "printf(\"%s %s %%zu\\n\", offsetof(struct %s, %s));\n", s, field, s, field)
			}
		}
	}
	src.WriteString("}\n")
	dir := t.TempDir()
	file, prog := filepath.Join(dir, "layout.c"), filepath.Join(dir, "layout")
	if err := os.WriteFile(file, []byte(src.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(clang, "-std=gnu11", "-fblocks", "-I../../../conformance/libvmnet/include", "-o", prog, file).CombinedOutput()
	if err == nil {
		out, err = exec.Command(prog).CombinedOutput()
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	got := map[string]map[string]uint64{}
	for line := range strings.Lines(string(out)) {
		w := strings.Fields(line)
		n, err := strconv.ParseUint(w[2], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if got[w[0]] == nil {
			got[w[0]] = map[string]uint64{}
		}
		got[w[0]][strings.TrimPrefix(w[1], ".")] = n
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("layouts (-facts +headers):\n%s", diff)
	}
}
