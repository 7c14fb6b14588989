// Package bsd encodes and decodes what macOS and its programs say to each other
// about links, addresses, routes and neighbours: messages of the routing socket
// (route(4)) and of sysctl's NET_RT_ lists, and the structures of ioctls. It is
// pure: it makes and reads bytes and calls no system, so that it is built and
// tested everywhere.
//
// The layouts are those of XNU's headers for 64-bit programs, little-endian, as
// amd64 and arm64 are. Each type names the header and the struct. Constants are
// macOS's, not those of the system that runs this.
//
// Decoders take bytes from outside: every length is checked, nothing panics, and
// nothing is kept of the input.
package bsd

import "errors"

// ErrShort is wrapped by the errors of messages that end before they should.
var ErrShort = errors.New("message too short")

// Address families (sys/socket.h).
const (
	AFInet  = 2
	AFLink  = 18
	AFInet6 = 30
)

// Types of messages, RTM_ (net/route.h).
const (
	RtmVersion = 5

	RtmAdd     = 1
	RtmDelete  = 2
	RtmChange  = 3
	RtmGet     = 4
	RtmResolve = 11
	RtmNewAddr = 12
	RtmDelAddr = 13
	RtmIfinfo  = 14
	RtmIfinfo2 = 18
)

// Flags of routes, RTF_ (net/route.h).
const (
	RtfUp        = 0x1
	RtfGateway   = 0x2
	RtfHost      = 0x4
	RtfReject    = 0x8
	RtfDynamic   = 0x10
	RtfDone      = 0x40
	RtfCloning   = 0x100
	RtfLLInfo    = 0x400
	RtfStatic    = 0x800
	RtfBlackhole = 0x1000
	RtfWasCloned = 0x20000
	RtfLocal     = 0x200000
	RtfBroadcast = 0x400000
	RtfMulticast = 0x800000
	RtfIfscope   = 0x1000000
	RtfProxy     = 0x8000000
)

// Bits of rtm_addrs, RTA_, in the order of the addresses (net/route.h).
const (
	rtaDst     = 0x1
	rtaGateway = 0x2
	rtaNetmask = 0x4
	rtaIfp     = 0x10
	rtaIfa     = 0x20
	rtaBrd     = 0x80
)

// Bits of rtm_inits, RTV_ (net/route.h).
const (
	RtvMTU    = 0x1
	RtvExpire = 0x4
)

// Lists of sysctl(CTL_NET, PF_ROUTE), NET_RT_ (sys/socket.h).
const (
	NetRtDump    = 1
	NetRtFlags   = 2
	NetRtIflist2 = 6
)

// Flags of interfaces, IFF_ (net/if.h).
const (
	IffUp          = 0x1
	IffBroadcast   = 0x2
	IffLoopback    = 0x8
	IffPointopoint = 0x10
	IffRunning     = 0x40
	IffNoARP       = 0x80
	IffPromisc     = 0x100
	IffAllmulti    = 0x200
	IffMulticast   = 0x8000
)

// Types of interfaces, IFT_ (net/if_types.h).
const (
	IftEther  = 0x6
	IftLoop   = 0x18
	IftL2VLAN = 0x87
	IftBridge = 0xd1
)
