// Package relay moves Ethernet frames between a vmnet.Interface and the guest
// behind it, in batches, both ways, and is the one place where frames are looked
// at: stages answer or refuse frames of the guest, every drop is counted by its
// reason.
//
// # The guest's side
//
// A [Port] is one connected frame socket, or a tap. Three framings exist:
//
//	datagram  one frame is one datagram of an AF_UNIX SOCK_DGRAM socket
//	stream    4 bytes of big-endian length, then the frame, on SOCK_STREAM
//	tap       one frame is one read or write of a tap interface (Linux)
//
// A [Relay] has at most one peer, which comes in one of three ways: as a Port
// ([Relay.Attach], "fd"), by the first datagram that it sends to a named socket
// ([Relay.ListenDatagram], "dgram"), or by connecting to a named socket
// ([Relay.ListenStream], "stream").
//
// Which peer wins: Attach always replaces. A newcomer on a named socket replaces
// a peer that is gone and is refused while the peer is alive: its frames are
// counted as [ReasonOtherPeer], its connection is closed and counted in
// [Stats].Refused. That a datagram peer is gone is not told by the system before
// somebody sends to it (seen on Linux 6.18), so the relay asks when a newcomer
// comes.
//
// # What is not a frame
//
//	what arrives                           answer
//	-------------------------------------  -----------------------------------------
//	datagram of 0 to 13 bytes              swallowed, [ReasonRunt]
//	datagram "VFKT" (vfkit's greeting)     swallowed, [ReasonGreeting]; makes a peer
//	datagram above the largest frame       dropped, [ReasonTooBig]
//	stream length 0 to 13                  that many bytes skipped, [ReasonRunt]
//	stream length above the largest frame  that many bytes skipped, [ReasonTooBig]
//	stream length above [MaxStreamFrame]   stream closed, [ReasonOutOfStep]
//
// # Bounds
//
// Nothing queues in the relay unless the way to the guest has a limit; the queues
// are the socket's and the interface's.
// A batch waits at most [Config].PeerWait for a peer whose queue is full, and at
// most [Config].InterfaceWait for an interface whose buffers are exhausted; then
// what is left of it is dropped and counted. Buffers exist only while a peer
// does, and are short until a batch fills them: about 30 KB for an idle peer at
// MTU 1500, then two times [BatchLen] frames (200 KB at MTU 1500, 512 KB
// with frames of 64 KiB), for a stream the room of a [Decoder] instead of one of the
// two. A named datagram socket keeps its buffers from its first frame on.
//
// On Linux the reader of a busy guest waits in recvmmsg(2), in a thread of its own,
// until 5 ms have passed without a frame, and the sender to a guest whose queue is
// full in sendmmsg(2): one wake-up instead of a detour through Go's poller. [Threads]
// bounds how many do; idle guests have none. A Close may take as long to be noticed,
// and a batch may wait up to 5 ms longer for each of 8 frames than PeerWait says.
// A socket or tap takes one descriptor more than itself, of an epoll: it is not in
// Go's poller, whose threads every frame for a reader at work would wake.
//
// Frames of the guest over a [Limit] wait, up to 200 ms each, and those behind them
// in the guest's socket; frames to the guest wait in a queue of 100 ms at the
// limit's rate, at least 48 KB or two of the largest frames, and at most 1024
// frames or 4 MiB (64 frames of 64 KiB). What is over that is dropped as
// [ReasonRateLimit]. A wait ends within 5 ms when the relay is closed.
package relay
