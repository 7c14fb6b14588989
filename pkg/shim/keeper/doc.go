// Package keeper holds the descriptors of a process that must be able to die: it
// listens first, starts the shim, keeps what the shim gives it, and starts the
// next shim with all of that when one ends. It knows nothing of networks, frames
// or CNI, and imports nothing of the house.
//
// # Protocol
//
// It is systemd's (sd_notify(3), sd_listen_fds(3), file descriptor store), so
// that systemd can be the keeper:
//
//	shim → keeper, datagrams to $NOTIFY_SOCKET, lines of KEY=VALUE
//	  READY=1                              it serves
//	  STOPPING=1                           it ends because it was asked to
//	  MAINPID=n                            who it is, after it was taken up
//	  FDSTORE=1 FDNAME=name FDPOLL=0 + fds  keep these under name
//	  FDSTOREREMOVE=1 FDNAME=name          close what is kept under name
//	  BARRIER=1 + fd                       closed when all before is done
//
//	keeper → shim, in its environment
//	  LISTEN_FDS=n LISTEN_FDNAMES=a:b:c    descriptors 3 to 2+n
//	  LISTEN_PID=pid, or LISTEN_PPID=ppid  for whom they are
//
// Two things are ours. A program in Go cannot set a variable to the process ID of
// the child that it is about to start, so this keeper names itself in LISTEN_PPID.
// And the descriptor named [LifeName] is one end of a pair of sockets whose other
// end only the keeper has: the shim reads the end of file when the keeper dies,
// goes on, and starts another keeper, to which it gives everything again.
//
// # When the shim ends
//
// Status 0, or STOPPING=1 before: the keeper ends too. [RestartStatus]: the shim
// is started again at once; so a new program takes over. Anything else is a death;
// the shim is started again, at once if it had worked for a while, and after
// pauses that double up to [MaxPause] if it had not, or to half a second if it was
// ready at least. It is never given up. Ten deaths within a minute are told in the
// file [ReportName] for whoever asks. A
// shim that has never been ready ends the keeper with its status: what cannot
// start has a wrong flag, most likely, and whoever started it waits.
//
// # Bounds
//
// At most Config.MaxFiles descriptors, whose names are together at most 100 KiB,
// since Linux takes no longer variable (execve(2), MAX_ARG_STRLEN); what is over
// that is closed, counted and told. One message has at most 8 descriptors and 4 KiB;
// what is none is dropped and counted. The path of the notify socket is there only
// until the shim is ready, which has connected by then: no other process, of the
// same user or not, can speak to the keeper after that.
package keeper
