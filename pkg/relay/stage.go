package relay

// A Verdict is what a Stage decided about a frame.
type Verdict uint8

const (
	// Pass hands the frame to the next stage, and after the last to the interface.
	Pass Verdict = iota
	// Taken ends the frame's way without a drop: it was answered, or meant for us.
	Taken
	// Drop ends the frame's way; it is counted by the reason given with it.
	Drop
)

// A Stage looks at frames of the guest before the interface sees them.
type Stage interface {
	// FromGuest judges one frame, which has at least 14 bytes and is valid during
	// the call only. It may change the frame. reply sends a frame to the guest, at
	// once, and may be called during FromGuest only; it does not keep the frame.
	// The reason counts for Drop only; ReasonNone then means ReasonStage. Calls
	// never overlap within one relay. FromGuest must not block.
	FromGuest(frame []byte, reply func(frame []byte)) (Verdict, Reason)
}
