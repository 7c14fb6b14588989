package tap

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// rule is what one rule of nftables consists of, in order. The helpers below name
// the words of nft(8) that they stand for.
type rule []expr.Any

func rules(parts ...rule) rule {
	var r rule
	for _, p := range parts {
		r = append(r, p...)
	}
	return r
}

func accept() rule { return rule{&expr.Verdict{Kind: expr.VerdictAccept}} }
func drop() rule   { return rule{&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop}} }

func meta(key expr.MetaKey, op expr.CmpOp, value []byte) rule {
	return rule{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: value}}
}

// iif and oif match the names of interfaces: iifname, oifname.
func iif(op expr.CmpOp, name string) rule { return meta(expr.MetaKeyIIFNAME, op, ifname(name)) }
func oif(op expr.CmpOp, name string) rule { return meta(expr.MetaKeyOIFNAME, op, ifname(name)) }

func ifname(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

// ether matches the EtherType: meta protocol.
func ether(proto uint16) rule { return meta(expr.MetaKeyPROTOCOL, expr.CmpOpEq, be16(proto)) }

// family matches the IP version in family inet: meta nfproto.
func family(a netip.Addr) rule {
	proto := byte(unix.NFPROTO_IPV4)
	if a.Is6() {
		proto = unix.NFPROTO_IPV6
	}
	return meta(expr.MetaKeyNFPROTO, expr.CmpOpEq, []byte{proto})
}

// l4 matches the transport protocol: meta l4proto.
func l4(proto byte) rule { return meta(expr.MetaKeyL4PROTO, expr.CmpOpEq, []byte{proto}) }

// sport and dport match ports.
func sport(port uint16) rule { return at(expr.PayloadBaseTransportHeader, 0, expr.CmpOpEq, be16(port)) }
func dport(port uint16) rule { return at(expr.PayloadBaseTransportHeader, 2, expr.CmpOpEq, be16(port)) }

// at compares bytes of a header.
func at(base expr.PayloadBase, offset uint32, op expr.CmpOp, value []byte) rule {
	return rule{
		&expr.Payload{DestRegister: 1, Base: base, Offset: offset, Len: uint32(len(value))},
		&expr.Cmp{Op: op, Register: 1, Data: value},
	}
}

// in matches an address at an offset of a header against a prefix.
func in(base expr.PayloadBase, offset uint32, op expr.CmpOp, p netip.Prefix) rule {
	addr := p.Masked().Addr().AsSlice()
	if p.IsSingleIP() {
		return at(base, offset, op, addr)
	}
	return rule{
		&expr.Payload{DestRegister: 1, Base: base, Offset: offset, Len: uint32(len(addr))},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: uint32(len(addr)), Mask: ipNet(p).Mask, Xor: make([]byte, len(addr))},
		&expr.Cmp{Op: op, Register: 1, Data: addr},
	}
}

// src and dst match addresses against prefixes: ip saddr, ip6 daddr and so on. The
// IP version must have been matched before.
func src(op expr.CmpOp, p netip.Prefix) rule {
	return in(expr.PayloadBaseNetworkHeader, addrOffset(p.Addr(), 12, 8), op, p)
}

func dst(op expr.CmpOp, p netip.Prefix) rule {
	return in(expr.PayloadBaseNetworkHeader, addrOffset(p.Addr(), 16, 24), op, p)
}

func addrOffset(a netip.Addr, v4, v6 uint32) uint32 {
	if a.Is4() {
		return v4
	}
	return v6
}

// ct matches bits of what connection tracking knows.
func ct(key expr.CtKey, bits uint32) rule {
	return rule{
		&expr.Ct{Key: key, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: native(bits), Xor: native(0)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: native(0)},
	}
}

// Bits of ct status (linux/netfilter/nf_conntrack_common.h, enum ip_conntrack_status).
const ipsDstNAT = 1 << 5

func established() rule {
	return ct(expr.CtKeySTATE, expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED)
}
func translated() rule { return ct(expr.CtKeySTATUS, ipsDstNAT) }

func be16(v uint16) []byte   { return binary.BigEndian.AppendUint16(nil, v) }
func native(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

// jump goes through another chain of the table, and then on.
func jump(chain string) rule { return rule{&expr.Verdict{Kind: expr.VerdictJump, Chain: chain}} }

// A chain is a base chain, or one without a hook that rules lead to, and its rules.
type chain struct {
	name     string
	kind     nftables.ChainType
	hook     *nftables.ChainHook
	priority *nftables.ChainPriority
	device   string // family netdev only
	rules    []rule
}

// setTable makes a table, with all that is in it, in place of the one of that name
// that was there, in one transaction.
func setTable(f nftables.TableFamily, name string, chains []chain) error {
	c, err := nftables.New()
	if err != nil {
		return opErr("nftables: open for table", name, err)
	}
	t := c.AddTable(&nftables.Table{Family: f, Name: name}) // so that the deletion finds one
	c.DelTable(t)
	t = c.AddTable(t)
	policy := nftables.ChainPolicyAccept
	made := make([]*nftables.Chain, len(chains))
	for i, ch := range chains { // before any rule, which may lead to one
		made[i] = &nftables.Chain{Name: ch.name, Table: t, Device: ch.device}
		if ch.hook != nil {
			made[i].Type, made[i].Hooknum, made[i].Priority, made[i].Policy = ch.kind, ch.hook, ch.priority, &policy
		}
		c.AddChain(made[i])
	}
	for i, ch := range chains {
		for _, r := range ch.rules {
			c.AddRule(&nftables.Rule{Table: t, Chain: made[i], Exprs: r})
		}
	}
	return opErr("nftables: make table", name, c.Flush())
}

// hasTable reports whether there is a table. A kernel without nftables, and one that
// does not let us look, has none of ours.
func hasTable(f nftables.TableFamily, name string) (bool, error) {
	c, err := nftables.New()
	if err != nil {
		return false, opErr("nftables: open for table", name, err)
	}
	_, err = c.ListTableOfFamily(name, f)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		return false, nil
	}
	return err == nil, opErr("nftables: look for table", name, err)
}

// families are those in which this package makes tables.
var families = []nftables.TableFamily{nftables.TableFamilyINet, nftables.TableFamilyNetdev}

// deleteTables deletes the tables of that name. That there is none is fine.
func deleteTables(name string) error {
	c, err := nftables.New()
	if err != nil {
		return opErr("nftables: open for table", name, err)
	}
	for _, f := range families {
		c.DelTable(c.AddTable(&nftables.Table{Family: f, Name: name}))
	}
	return opErr("nftables: delete table", name, c.Flush())
}
