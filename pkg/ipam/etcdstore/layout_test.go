package etcdstore_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/ipam/etcdstore"
)

func TestLayout(t *testing.T) {
	l := etcdstore.NewLayout("/x/")
	keys := []string{"", "\x00", "\x00a", "a", "a\x00", "a\x00b\x00c\x00", "a\x00\xff\xff", "a\x01", "ab", "b\x00leases\x01", "\xff\xff\x00\xff"}
	for _, table := range ipam.Tables() {
		var encoded []string
		for _, k := range keys {
			e := l.Encode(table, k)
			encoded = append(encoded, e)
			if gotT, gotK, ok := l.Decode(e); !ok || gotT != table || gotK != k {
				t.Errorf("decode of %q: %s %q %v, want %s %q", e, gotT, gotK, ok, table, k)
			}
		}
		sorted := slices.Clone(keys)
		slices.Sort(sorted)
		slices.Sort(encoded)
		for i, e := range encoded {
			if _, k, _ := l.Decode(e); k != sorted[i] {
				t.Errorf("table %s: key %d in etcd's order is %q, want %q", table, i, k, sorted[i])
			}
		}
	}
}

func FuzzLayout(f *testing.F) {
	f.Add("leases", "a\x00b\x00", "/x/n/a\x00leases\x01b\x00", "a")
	f.Add("addrs", "a", "/x/n/a\x00leases\x00", "a\x00")
	f.Add("pools", "\x00", "/x/n/", "")
	f.Add("addrs", "a", "/x/n/a\x00\xffsasle\x00", "") // not a table of ours
	f.Fuzz(func(t *testing.T, table, key, etcdKey, prefix string) {
		l := etcdstore.NewLayout("/x/")
		if tb, k, ok := l.Decode(etcdKey); ok && l.Encode(tb, k) != etcdKey {
			t.Errorf("%q decodes to %s %q, which encodes to %q", etcdKey, tb, k, l.Encode(tb, k))
		}
		if !slices.Contains(ipam.Tables(), ipam.Table(table)) {
			return
		}
		tb := ipam.Table(table)
		e := l.Encode(tb, key)
		if gotT, gotK, ok := l.Decode(e); !ok || gotT != tb || gotK != key {
			t.Errorf("%q decodes to %s %q", e, gotT, gotK)
		}
		from, end := l.ScanRange(tb, prefix)
		if in := from <= e && e < end; in != strings.HasPrefix(key, prefix) {
			t.Errorf("key %q of prefix %q: in range %v", key, prefix, in)
		}
		if next := l.Skip(tb, etcdKey); next <= etcdKey && bytes.HasPrefix([]byte(etcdKey), []byte("/x/n/")) {
			t.Errorf("skip from %q goes back to %q", etcdKey, next)
		}
		if ot, _, ok := l.Decode(etcdKey); ok && ot != tb && etcdKey < e && e < l.Skip(tb, etcdKey) {
			t.Errorf("skip from %q passes over %q", etcdKey, e)
		}
	})
}
