// Package handover gives and takes the frame fd of an attachment: a file
// descriptor on which every message is one Ethernet frame. A runtime that runs
// virtual machines imports it to receive one; the CNI plugin and the shim use
// the other side.
//
// # The four ways
//
//	push     the runtime calls Listen and names that socket in CNI_NETNS; the
//	         plugin calls Push during ADD. The fd arrives before ADD returns.
//	pull     the runtime asks the shim (package shim, Client.Frames), also again
//	         when its machine restarts. The shim calls Send, the client Receive.
//	path     the runtime calls Dial with the socketPath of the CNI result, or
//	         gives that path to a program that connects by itself.
//	inherit  "vmnet-shim run … -- CMD" starts CMD with the fd as number 3; CMD
//	         calls Inherited.
//
// # The message
//
// Push and pull use the same exchange over a stream socket in the unix domain.
// The giver sends one line, a JSON object as [Message] describes and a newline,
// at most [MaxLine] bytes. Exactly one file descriptor comes with the first byte
// (SCM_RIGHTS). The taker answers with one line, {"ok":true} or
// {"error":"reason"}. A taker that does not know the version, finds the
// message malformed, or gets no or several descriptors answers with an error,
// closes what it got, and the attachment is not made. A taker ignores keys that
// it does not know: version 1 may get more.
//
// Every descriptor made or received here is close-on-exec. No wait is longer
// than [MaxWait].
package handover
