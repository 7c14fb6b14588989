package server

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/vmnet-cni/vmnet/pkg/relay"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// What /metrics tells. The series of an attachment end with it.
var (
	attachmentLabels = []string{"network", "container_id", "ifname"}
	descAttachments  = prometheus.NewDesc("vmnet_attachments", "Attachments.", nil, nil)
	descNetworks     = prometheus.NewDesc("vmnet_networks", "Networks that have attachments.", nil, nil)
	descBroken       = prometheus.NewDesc("vmnet_attachments_broken", "Attachments that could not be brought back.", nil, nil)
	descUp           = prometheus.NewDesc("vmnet_attachment_connected", "1 when a guest is connected.", attachmentLabels, nil)
	descFrames       = prometheus.NewDesc("vmnet_frames_total", "Frames moved.", append(attachmentLabels, "direction"), nil)
	descBytes        = prometheus.NewDesc("vmnet_bytes_total", "Bytes moved.", append(attachmentLabels, "direction"), nil)
	descDrops        = prometheus.NewDesc("vmnet_drops_total", "Frames dropped.", append(attachmentLabels, "direction", "reason"), nil)
	descQueued       = prometheus.NewDesc("vmnet_queued_bytes", "Bytes that wait.", append(attachmentLabels, "direction"), nil)
	descAnswered     = prometheus.NewDesc("vmnet_answered_total", "Frames answered by the shim itself.", attachmentLabels, nil)
	descRefused      = prometheus.NewDesc("vmnet_refused_connections_total", "Connections closed because a guest was there.", attachmentLabels, nil)
	descLeases       = prometheus.NewDesc("vmnet_network_leases", "Addresses that are held.", []string{"network"}, nil)
	descFree         = prometheus.NewDesc("vmnet_network_free_addresses", "Addresses that can still be given.", []string{"network"}, nil)
	descBuild        = prometheus.NewDesc("vmnet_build_info", "1, with the version of the shim.", []string{"version"}, nil)
)

// getMetrics answers in the text format of Prometheus, with what the caller
// sees. The registry is this request's own.
func (s *Server) getMetrics(w http.ResponseWriter, r *http.Request, who caller) error {
	reg := prometheus.NewRegistry()
	c := &collector{atts: s.visible(who), version: s.cfg.Version}
	for _, group := range networksOf(c.atts) {
		n, err := s.networkView(r.Context(), group)
		if err != nil {
			return err
		}
		c.nets = append(c.nets, n)
	}
	for _, one := range []prometheus.Collector{c, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})} {
		if err := reg.Register(one); err != nil {
			return err
		}
	}
	promhttp.HandlerFor(reg, promhttp.HandlerOpts{}).ServeHTTP(w, r)
	return nil
}

// A collector tells of some attachments and their networks.
type collector struct {
	atts    []*attachment
	nets    []shim.Network
	version string
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descAttachments, descNetworks, descBroken, descUp, descFrames, descBytes, descDrops, descQueued, descAnswered, descRefused, descLeases, descFree, descBuild} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	broken := 0
	for _, a := range c.atts {
		if a.relay == nil {
			broken++
			continue
		}
		collectOne(ch, a)
	}
	gauge(ch, descAttachments, float64(len(c.atts)))
	gauge(ch, descNetworks, float64(len(networksOf(c.atts))))
	gauge(ch, descBroken, float64(broken))
	gauge(ch, descBuild, 1, c.version)
	for _, n := range c.nets {
		gauge(ch, descLeases, float64(n.Leases), n.Name)
		gauge(ch, descFree, float64(n.Free), n.Name)
	}
}

func collectOne(ch chan<- prometheus.Metric, a *attachment) {
	labels := []string{a.rec.Network, a.rec.ContainerID, a.rec.IfName}
	up := 0.0
	if a.relay.Peer().Connected {
		up = 1
	}
	gauge(ch, descUp, up, labels...)
	st := a.relay.Stats()
	counter(ch, descAnswered, st.Answered, labels...)
	counter(ch, descRefused, st.Refused, labels...)
	from, to := a.relay.Queued()
	for _, d := range []struct {
		name   string
		queued int
		relay.Direction
	}{{"from_guest", from, st.FromGuest}, {"to_guest", to, st.ToGuest}} {
		labels := append(labels, d.name)
		counter(ch, descFrames, d.Frames, labels...)
		counter(ch, descBytes, d.Bytes, labels...)
		gauge(ch, descQueued, float64(d.queued), labels...)
		for reason, n := range d.Drops {
			counter(ch, descDrops, n, append(labels, reason)...)
		}
	}
}

func gauge(ch chan<- prometheus.Metric, d *prometheus.Desc, v float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func counter(ch chan<- prometheus.Metric, d *prometheus.Desc, v uint64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
}
