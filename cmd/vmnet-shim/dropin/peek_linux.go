package dropin

import "golang.org/x/sys/unix"

// hangUpEvents are those of poll(2) that tell of a stream's end.
const hangUpEvents = unix.POLLRDHUP
