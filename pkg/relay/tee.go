package relay

import "slices"

// A Tee gets to see every frame that the guest sent, before the stages, and every
// frame that the guest's socket took.
type Tee interface {
	// Frame sees one frame, which is valid during the call only. Calls for the two
	// directions may overlap. It must not block: the frame waits meanwhile.
	Frame(toGuest bool, frame []byte)
}

// MaxTees is how many tees a relay has room for.
const MaxTees = 4

// AddTee lets t see frames from now on, and reports whether there was room. Without
// tees a batch costs one load more.
func (r *Relay) AddTee(t Tee) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []Tee
	if old := r.tees.Load(); old != nil {
		list = *old
	}
	if len(list) == MaxTees {
		return false
	}
	list = append(slices.Clone(list), t)
	r.tees.Store(&list)
	return true
}

// RemoveTee ends what AddTee began. A call of t that is under way may still end
// after it.
func (r *Relay) RemoveTee(t Tee) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.tees.Load()
	if old == nil {
		return
	}
	list := slices.DeleteFunc(slices.Clone(*old), func(o Tee) bool { return o == t })
	if len(list) == 0 {
		r.tees.Store(nil)
		return
	}
	r.tees.Store(&list)
}

// show lets the tees see frames, without the skip bytes before each.
func (r *Relay) show(toGuest bool, frames [][]byte, skip int) {
	tees := r.tees.Load()
	if tees == nil {
		return
	}
	for _, t := range *tees {
		for _, f := range frames {
			t.Frame(toGuest, f[skip:])
		}
	}
}
