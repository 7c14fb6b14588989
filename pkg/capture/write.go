package capture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// Run writes the session as pcapng to w until ctx ends, which is no error, and what
// waits then is written too, or until max frames were written; zero is no limit. It flushes whenever it has to wait for
// frames, and calls flushed then, if that is not nil. The capture ends with the
// interface's statistics.
func (s *Session) Run(ctx context.Context, w io.Writer, max uint64, flushed func() error) error {
	out, err := pcapgo.NewNgWriterInterface(w, pcapgo.NgInterface{
		Name: s.cfg.Name, Description: "frames of a vmnet attachment; inbound is from the guest",
		Filter: s.cfg.Filter.String(), OS: runtime.GOOS, LinkType: layers.LinkTypeEthernet,
		SnapLength: uint32(s.cfg.SnapLen), TimestampResolution: 9,
	}, pcapgo.NgWriterOptions{SectionInfo: pcapgo.NgSectionInfo{Hardware: runtime.GOARCH, OS: runtime.GOOS, Application: "vmnet-shim"}})
	if err != nil {
		return fmt.Errorf("capture: %w", err)
	}
	flush := func() error {
		err := out.Flush()
		if err == nil && flushed != nil {
			err = flushed()
		}
		return err
	}
	began := time.Now()
	var scratch []byte
	var r record
	for n := uint64(0); max == 0 || n < max; n++ {
		if r, scratch, err = s.next(ctx, scratch, flush); err == nil {
			err = writeRecord(out, r)
		}
		if err != nil {
			break
		}
	}
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = nil
	}
	if err == nil {
		seen, lost := s.Counts()
		err = out.WriteInterfaceStats(0, pcapgo.NgInterfaceStatistics{
			LastUpdate: time.Now(), StartTime: began, EndTime: time.Now(), PacketsReceived: seen, PacketsDropped: lost,
		})
	}
	if err == nil {
		err = flush()
	}
	if err != nil {
		return fmt.Errorf("capture: %w", err)
	}
	return nil
}

// writeRecord writes one frame, with its direction, and what was lost before it.
func writeRecord(out *pcapgo.NgWriter, r record) error {
	flags := pcapgo.NgEpbFlags{Direction: pcapgo.NgEpbFlagDirectionInbound}
	if r.toGuest {
		flags.Direction = pcapgo.NgEpbFlagDirectionOutbound
	}
	opts := pcapgo.NgPacketOptions{Flags: &flags}
	if r.lost > 0 {
		opts.DropCount = &r.lost
		opts.Comments = []string{fmt.Sprintf("%d frames lost by the capture before this one", r.lost)}
	}
	return out.WritePacketWithOptions(gopacket.CaptureInfo{Timestamp: r.when, CaptureLength: len(r.data), Length: r.size}, r.data, opts)
}
