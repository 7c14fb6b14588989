//go:build !linux

package dropin

// hangUpEvents are those of poll(2) that tell of a stream's end: POLLHUP comes
// unasked.
const hangUpEvents = 0
