// Package vmnet is the model of a virtual network interface whose other side
// belongs to a virtual machine or a container: the interface of Apple's
// vmnet.framework as the OCaml library Vmnet first wrapped it, in Go, with the
// work done by a driver.
//
// A [Driver] opens a [Network]; a network starts an [Interface] for each guest.
// [Start] does both for a program that wants a single interface. Drivers are
// packages of their own below this one, and every driver passes the suite in
// package vmnettest.
//
// # The OCaml library, row by row
//
//	OCaml Vmnet                          this package
//	---------------------------------    ------------------------------------------
//	type t, sexp_of_t                    [Interface], [Interface.String]
//	mode                                 [Mode]: [Shared], [Host], [Bridged]
//	Bridged_mode of string               [Bridged] with [NetworkConfig].Uplink
//	init ?mode ?uuid ?ipv4_config ()     [Start], or [Driver].Open and [Network].Start
//	  ?mode (shared by default)          [NetworkConfig].Mode (the zero value is [Shared])
//	  ?uuid (same UUID, same MAC)        [Config].UUID (zero: a new one)
//	  ?ipv4_config start, end, mask      [NetworkConfig].Gateway, RangeEnd, Subnet
//	mac, mtu, uuid                       [Interface.MAC], [Interface.MTU], [Interface.UUID]
//	max_packet_size                      [Interface.MaxPacketSize]
//	set_event_handler                    [Interface.SetEventHandler]
//	wait_for_event                       [Interface.WaitForEvent]
//	read, No_packets_waiting             [Interface.Read], [ErrNoPackets]
//	write                                [Interface.Write]
//	Lwt_vmnet.read                       [Interface.ReadContext]
//	shared_interface_list                [BridgeLister]
//	add_/remove_/get_port_forwarding…    [Forwarder], [Interface.Forwarder]
//	exception Error of error             [OpError] around a [Code]
//	  Failure … Too_many_packets         [Failure] … [TooManyPackets]
//	  Unknown of int                     any other [Code]; [Code.Known] is false
//	exception Permission_denied          [ErrPermission]
//	(to do: several packets at once)     [Interface.ReadBatch], [Interface.WriteBatch]
//	(to do: stopping an interface)       [Interface.Close]
//
// Two things are better than in the model. An event cannot be lost between the
// last empty read and the wait, and reading, writing, waiting and closing may
// come from different goroutines.
//
// A frame is an Ethernet II frame without preamble and frame check sequence,
// 14 bytes of header included, so a frame of an interface with MTU 1500 has at
// most 1514 bytes.
package vmnet
