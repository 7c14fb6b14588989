// Test controls of libvmnet. They are optional symbols: no client may need them,
// so that any library with the framework's ABI can take this one's place.
//
// The same controls can be given to a process that does not know them, by its
// environment: LIBVMNET_TEST="name=value,name=value". Other variables:
// LIBVMNET_BROKER (path of the broker's socket: networks shared between
// processes), LIBVMNET_TAP, LIBVMNET_TAP_HOST, LIBVMNET_TAP_BRIDGED (name of an
// existing tap in the network namespace of the thread that starts the first
// interface of such a network, or of the broker: the host's end of the network),
// LIBVMNET_BRIDGES (names that bridged mode accepts, "en0,en1").
//
// Faults. OP is start, stop, read, write, event, rule, network.create,
// network.open, network.serialize or network.release (the last CFRelease of a
// network, which can only be told to block).
//   fail.OP          status that calls of OP end with; 0 = none
//   count.fail.OP    how many calls; -1 = all (default)
//   hang.OP          1: the handler is not called until this is 0 again;
//                    2: the call itself blocks until then
//   late.OP          the handler is called so many milliseconds late
//   null.start       1: failing start returns NULL and calls the handler;
//                    2: returns NULL and never calls it
// Behaviour.
//   events           0: one event for any number of frames, none again before
//                    the next frame (edge, coalesced);
//                    1: another one as long as frames wait (level);
//                    2: one for every frame and a spurious one after it (storm)
//   events.late      1: events queued before stop or before the callback was
//                    taken away are delivered all the same
//   fire             setting it to n delivers n events to every interface
//   short.read, short.write  packets per call at most, as a short count; 0 = off
//   strict.buffers   0: vmnet_read truncates into small buffers, as the real one
//                    may; 1: VMNET_INVALID_ARGUMENT (default)
//   privilege        0: the process may start nothing (1001, networks 1002)
//   root             0, 1: pretend; -1: ask the system. Decides the first subnet
//                    that a logical network gets
//   batch            packets per call; 0: 256, or 200 where the keys are absent
//   batch.keys       0, 1: whether start's parameters tell it; -1: as the
//                    imitated release does
//   virtio.included  1: max_packet_size includes the 12 bytes of the header
//   limit.interfaces interfaces at a time (32); in the broker: its own setting
//   ring             frames that wait for a reader at most (1024)
//   gateway, dhcp, ra  0: the network has no gateway, no DHCP server, or sends no
//                    router advertisements
//   forward.local    1: port forwarding, which a network with a tap really serves,
//                    also serves connections from the host itself
//   traffic          0: frames are switched; 1: sink, written frames are counted;
//                    2: source, frames can be read without end; 3: echo, written
//                    frames come back with source and destination exchanged
//   source.size      length of the source's frames
//   source.limit     frames that the source still has, per process; -1: no end
// Counters, for libvmnet_test_get: live.interfaces, live.blocks (copies that the
// library holds), live.xpc, live.queues, live.semaphores, live.threads (of the
// queues), live.cf, live.networks, live.clients (of a broker);
// count.block_copies, count.events, count.handlers, count.late,
// count.read_calls, count.write_calls, count.frames_read, count.frames_written,
// count.bytes_read, count.bytes_written; drop.ring (reader too slow), drop.big
// (frame larger than the receiver takes), drop.transport (broker's socket full).
#ifndef LIBVMNET_TEST_H
#define LIBVMNET_TEST_H

#include <stddef.h>
#include <stdint.h>

#ifdef LV_NO_CONTROLS // a library like another maker's
#pragma GCC visibility push(hidden)
#else
#pragma GCC visibility push(default)
#endif

// libvmnet_test_set sets a control; -1: there is none of that name.
int libvmnet_test_set(const char *name, int64_t value);
// libvmnet_test_get reads a control or counter; INT64_MIN: there is none.
int64_t libvmnet_test_get(const char *name);
// libvmnet_test_reset gives every control its default; counters stay.
void libvmnet_test_reset(void);
// libvmnet_test_inject lets a frame arrive at an interface; 0, or -1 when it was
// dropped.
int libvmnet_test_inject(void *interface, const void *frame, size_t length);
// libvmnet_test_bridges sets the list that bridged mode accepts; NULL = default.
void libvmnet_test_bridges(const char *names);
// libvmnet_test_version gives the imitated release of macOS, 260000 for 26.0.
int64_t libvmnet_test_version(void);

#pragma GCC visibility pop

#endif
