package relay

import "sync/atomic"

// drops counts dropped frames by reason.
type drops [numReasons]atomic.Uint64

func (d *drops) add(why Reason, n int) {
	if n > 0 {
		d[why].Add(uint64(n))
	}
}

// counters counts one direction. Several goroutines may count.
type counters struct {
	frames, bytes atomic.Uint64
	drops         drops
}

// passed counts frames that arrived, without the skip bytes before each.
func (c *counters) passed(frames [][]byte, skip int) {
	if len(frames) == 0 {
		return
	}
	sum := -skip * len(frames)
	for _, f := range frames {
		sum += len(f)
	}
	c.frames.Add(uint64(len(frames)))
	c.bytes.Add(uint64(sum))
}

func (c *counters) snapshot() Direction {
	d := Direction{Frames: c.frames.Load(), Bytes: c.bytes.Load(), Drops: map[string]uint64{}}
	for why := range c.drops {
		if n := c.drops[why].Load(); n > 0 {
			d.Drops[Reason(why).String()] = n
		}
	}
	return d
}
