package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// statsFlags are the flags of "stats".
type statsFlags struct {
	out      output
	network  string
	interval time.Duration
	count    int
}

func newStats() *cobra.Command {
	var f statsFlags
	cmd := &cobra.Command{
		Use:   "stats",
		Short: "Show rates, queues, drops and guests, live",
		Long: `Show a line for each attachment: whether a guest is there, frames and bits per
second in both directions, bytes that wait, and what was dropped since the last time
and why; < is from the guest, > to the guest. On a terminal the table is drawn anew
every interval, until SIGINT or SIGTERM.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	f.out.register(cmd)
	fl := cmd.Flags()
	fl.StringVar(&f.network, "network", "", "only this network")
	fl.DurationVar(&f.interval, "interval", time.Second, "time between two looks, at least 100ms")
	fl.IntVar(&f.count, "count", 0, "end after so many tables (default none)")
	return cmd
}

func (f *statsFlags) run(cmd *cobra.Command) error {
	if f.interval < 100*time.Millisecond {
		return fmt.Errorf("--interval %s: want 100ms or more", f.interval)
	}
	c, err := connect()
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	tick := time.NewTicker(f.interval)
	defer tick.Stop()
	before, err := f.look(ctx, c)
	if err != nil {
		return err
	}
	for n := 1; ; n++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		now, err := f.look(ctx, c)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		if err := f.print(cmd.OutOrStdout(), rates(before, now)); err != nil {
			return err
		}
		if n == f.count {
			return nil
		}
		before = now
	}
}

// A look is the attachments at some time.
type look struct {
	at   time.Time
	atts []shim.Attachment
}

func (f *statsFlags) look(ctx context.Context, c *shim.Client) (look, error) {
	atts, err := c.Attachments(ctx)
	l := look{at: time.Now()}
	for _, a := range atts {
		if f.network == "" || a.Network == f.network {
			l.atts = append(l.atts, a)
		}
	}
	return l, err
}

// An attachmentRate is what happened to an attachment between two looks.
type attachmentRate struct {
	Network     string `json:"network"`
	ContainerID string `json:"containerID"`
	IfName      string `json:"ifname"`
	Guest       string `json:"guest"` // how it is connected; empty: it is not
	FromGuest   rate   `json:"fromGuest"`
	ToGuest     rate   `json:"toGuest"`
	Problem     string `json:"problem,omitempty"`
}

// A rate is one direction.
type rate struct {
	FramesPerSecond float64           `json:"framesPerSecond"`
	BitsPerSecond   float64           `json:"bitsPerSecond"`
	Drops           map[string]uint64 `json:"drops,omitempty"` // since the last look, by reason
	QueuedBytes     uint64            `json:"queuedBytes"`     // at this look
}

// rates compares two looks. What began between them is compared with zero; counters
// that went back are of a shim that started anew.
func rates(before, now look) []attachmentRate {
	old := map[string]shim.Attachment{}
	for _, a := range before.atts {
		old[a.Network+"/"+a.ContainerID+"/"+a.IfName] = a
	}
	seconds := now.at.Sub(before.at).Seconds()
	list := make([]attachmentRate, 0, len(now.atts))
	for _, a := range now.atts {
		o := old[a.Network+"/"+a.ContainerID+"/"+a.IfName]
		r := attachmentRate{
			Network: a.Network, ContainerID: a.ContainerID, IfName: a.IfName, Problem: a.Problem,
			FromGuest: rateOf(o.Counters.FromGuest, a.Counters.FromGuest, seconds),
			ToGuest:   rateOf(o.Counters.ToGuest, a.Counters.ToGuest, seconds),
		}
		if a.Peer.Connected {
			r.Guest = a.Peer.Via
		}
		list = append(list, r)
	}
	return list
}

func rateOf(o, n shim.Direction, seconds float64) rate {
	if n.Frames < o.Frames || n.Bytes < o.Bytes {
		o = shim.Direction{} // another shim, or another attachment of that name
	}
	r := rate{
		FramesPerSecond: float64(n.Frames-o.Frames) / seconds,
		BitsPerSecond:   float64(n.Bytes-o.Bytes) * 8 / seconds,
		QueuedBytes:     n.QueuedBytes,
	}
	for reason, count := range n.Drops {
		if d := count - o.Drops[reason]; d > 0 && count >= o.Drops[reason] {
			if r.Drops == nil {
				r.Drops = map[string]uint64{}
			}
			r.Drops[reason] = d
		}
	}
	return r
}

func (f *statsFlags) print(w io.Writer, list []attachmentRate) error {
	if o, ok := w.(*os.File); ok && isTerminal(o) && f.out.format == "table" {
		fmt.Fprint(w, "\x1b[H\x1b[J") // to the upper left corner, and erase below (ECMA-48)
	}
	return f.out.print(w, list, func(t *table) {
		t.row("NETWORK", "CONTAINER", "IFNAME", "GUEST", "FROM GUEST", "", "TO GUEST", "", "QUEUED", "DROPS")
		for _, r := range list {
			t.row(r.Network, r.ContainerID, r.IfName, r.Guest,
				human(r.FromGuest.FramesPerSecond)+" f/s", human(r.FromGuest.BitsPerSecond)+"bit/s",
				human(r.ToGuest.FramesPerSecond)+" f/s", human(r.ToGuest.BitsPerSecond)+"bit/s",
				queuedText(r), dropText(r))
		}
	})
}

// human writes a number with three digits and a prefix of the SI.
func human(v float64) string {
	for _, prefix := range []string{"", "k", "M", "G"} {
		if v < 999.5 {
			return strconv.FormatFloat(v, 'g', 3, 64) + " " + prefix
		}
		v /= 1000
	}
	return strconv.FormatFloat(v, 'f', 0, 64) + " T"
}

// queuedText is how much waits in both directions, or nothing.
func queuedText(r attachmentRate) string {
	var words []string
	if n := r.FromGuest.QueuedBytes; n > 0 {
		words = append(words, "<"+human(float64(n))+"B")
	}
	if n := r.ToGuest.QueuedBytes; n > 0 {
		words = append(words, ">"+human(float64(n))+"B")
	}
	return strings.Join(words, " ")
}

// dropText lists drops, both directions together.
func dropText(r attachmentRate) string {
	if r.Problem != "" {
		return r.Problem
	}
	var words []string
	for dir, drops := range map[string]map[string]uint64{"<": r.FromGuest.Drops, ">": r.ToGuest.Drops} {
		for reason, n := range drops {
			words = append(words, dir+reason+" "+strconv.FormatUint(n, 10))
		}
	}
	sort.Strings(words)
	return strings.Join(words, ", ")
}
