package shim

import (
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/internal/plainjson"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// A filler fills values of the API at random; about one field in three stays zero.
type filler struct {
	*rand.Rand
	texts []string
}

var addrs = []string{"192.168.127.9", "fd5e::9", "fe80::1%eth0", "::ffff:1.2.3.4"}

func (f filler) fill(v reflect.Value) {
	if f.IntN(3) == 0 {
		return
	}
	switch p := v.Addr().Interface().(type) {
	case *netip.Addr:
		*p = netip.MustParseAddr(addrs[f.IntN(len(addrs))])
		return
	case *netip.Prefix:
		*p = netip.MustParsePrefix([]string{"10.0.0.0/8", "fd5e::/64", "0.0.0.0/0"}[f.IntN(3)])
		return
	case *time.Time:
		*p = time.Unix(f.Int64N(1<<33), f.Int64N(1e9)).UTC()
		return
	case *vmnet.Mode:
		*p = vmnet.Mode(f.IntN(3))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			f.fill(v.Field(i))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), f.IntN(3), 3))
		for i := range v.Len() {
			f.fill(v.Index(i))
		}
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]uint64{f.text(): f.Uint64(), "own": 1}))
	case reflect.String:
		v.SetString(f.text())
	case reflect.Bool:
		v.SetBool(f.IntN(2) == 0)
	case reflect.Int:
		v.SetInt(f.Int64N(1<<31) - 1<<30)
	case reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(f.Uint64() >> (64 - v.Type().Bits()))
	default:
		panic(v.Type().String()) // new in the API: a case for it is missing here
	}
}

func (f filler) text() string { return f.texts[f.IntN(len(f.texts))] }

var (
	plainTexts = []string{"eth0", "a b", "/run/x.sock", "~!#'"}
	anyTexts   = append([]string{"ä", `"`, "<&>", "\n\x00", "\xff", "\u2028", `\u0041`}, plainTexts...)
)

// A request is written as encoding/json writes it, whatever is in it.
func TestPlainRequest(t *testing.T) {
	f := filler{rand.New(rand.NewPCG(1, 2)), anyTexts}
	for range 5000 {
		var r AttachRequest
		f.fill(reflect.ValueOf(&r).Elem())
		got, err := requestBody(r)
		want, werr := json.Marshal(r)
		if err != nil || werr != nil || string(got) != string(want) {
			t.Fatalf("got  %s, %v\nwant %s, %v", got, err, want, werr)
		}
	}
	bad := AttachRequest{Network: NetworkSpec{Mode: 77}}
	if _, err := requestBody(bad); err == nil {
		t.Error("a mode that is none was written")
	}
}

// An answer is read as encoding/json reads it, whatever is in it.
func TestPlainAnswer(t *testing.T) {
	for _, texts := range [][]string{plainTexts, anyTexts} {
		f := filler{rand.New(rand.NewPCG(3, 4)), texts}
		plain := 0
		for range 5000 {
			var a Attachment
			f.fill(reflect.ValueOf(&a).Elem())
			plain += sameAnswer(t, &a, new(Attachment), new(Attachment))
			var n Network
			f.fill(reflect.ValueOf(&n).Elem())
			plain += sameAnswer(t, &n, new(Network), new(Network))
		}
		if plain < 1000 {
			t.Errorf("%d of 10000 answers were plain", plain)
		}
	}
}

// sameAnswer returns 1 when the answer v was plain.
func sameAnswer(t *testing.T, v any, got, want plainReader) int {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, want); err != nil {
		t.Fatal(err)
	}
	p, ok := plainjson.Parse(data)
	plain := ok && got.readPlain(p)
	if !plain && !reflect.ValueOf(got).Elem().IsZero() {
		t.Fatalf("%s: is not plain, and left %+v", data, got)
	}
	if err := readAnswer(data, got); err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%s:\ngot  %+v, %v\nwant %+v", data, got, err, want)
	}
	if !plain {
		return 0
	}
	return 1
}

// What shims answer at work is plain.
func TestPlainUsual(t *testing.T) {
	a := Attachment{
		Network: "shared", ContainerID: "c1", IfName: "eth0", Driver: DriverNetstack, MAC: "02:00:00:00:00:01", MTU: 1500, MaxFrameSize: 1514,
		Frames: FramesDgram, IPs: []IP{{netip.MustParsePrefix("192.168.127.2/24"), netip.MustParseAddr("192.168.127.1")}},
		Routes: []Route{{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("192.168.127.1")}},
		DNS:    DNS{Nameservers: []string{"192.168.127.1"}, Search: []string{"vm.internal"}}, Guard: Guard{}.Complete(true),
		SocketPath: "/run/vmnet/s/0123456789abcdef.d", Created: time.Now(), Counters: Counters{FromGuest: Direction{Frames: 1, Drops: map[string]uint64{"mac": 2}}},
	}
	if sameAnswer(t, &a, new(Attachment), new(Attachment)) != 1 {
		t.Error("is not plain")
	}
}

// FuzzPlainAnswer: what is read without encoding/json is read as by it, unless a key
// comes twice.
func FuzzPlainAnswer(f *testing.F) {
	for _, v := range []any{Attachment{}, Network{}, Attachment{IPs: []IP{{}}, Routes: []Route{{}}, Peer: Peer{Via: "fd", Since: time.Unix(1, 0)}}} {
		data, err := json.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(`{"mode":"bridged","owner":4294967296,"ips":null,"created":"x"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		v, ok := plainjson.Parse(data)
		if !ok || repeated(v) {
			return
		}
		for _, pair := range [][2]plainReader{{new(Attachment), new(Attachment)}, {new(Network), new(Network)}} {
			if !pair[0].readPlain(v) {
				continue
			}
			if err := json.Unmarshal(data, pair[1]); err != nil || !reflect.DeepEqual(pair[0], pair[1]) {
				t.Errorf("%q:\ngot  %+v\nwant %+v, %v", data, pair[0], pair[1], err)
			}
		}
	})
}

// repeated reports whether an object in v has a key twice.
func repeated(v plainjson.Value) bool {
	seen, twice := map[string]bool{}, false
	v.Members(func(key string, v plainjson.Value) bool {
		twice = twice || seen[key] || repeated(v)
		seen[key] = true
		return true
	})
	v.Elements(func(v plainjson.Value) bool {
		twice = twice || repeated(v)
		return true
	})
	return twice
}
