// Package capture takes copies of an attachment's frames and writes them as pcapng,
// for Wireshark and its kin. A Session is a relay.Tee: it never delays a frame.
// What it has no room for is lost to the capture alone, and said in it.
//
// A Filter chooses frames in the language of pcap-filter(7), as far as it is listed
// at ParseFilter. No library in Go compiles that language right without libpcap:
// packetcap/go-pcap makes programs of "ip6" and of "arp or icmp6" that jump out of
// bounds.
package capture
