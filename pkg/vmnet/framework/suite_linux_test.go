package framework_test

import (
	"fmt"
	"testing"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/framework"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/vmnettest"
)

// TestSuite runs the contract of package vmnet over every way to start an
// interface, and over every way in which the framework may signal frames.
func TestSuite(t *testing.T) {
	for _, c := range []struct {
		name    string
		release int
		events  int64
		cfg     framework.Config
		network vmnet.NetworkConfig
	}{
		{"logical", macOS26, 0, framework.Config{}, vmnet.NetworkConfig{}},
		{"logical level", macOS26, 1, framework.Config{}, vmnet.NetworkConfig{}},
		{"logical storm", macOS26, 2, framework.Config{}, vmnet.NetworkConfig{}},
		{"logical host", macOS26, 0, framework.Config{}, vmnet.NetworkConfig{Mode: vmnet.Host}},
		{"logical offload", macOS26, 0, framework.Config{}, vmnet.NetworkConfig{Offload: true}},
		{"classic on 26", macOS26, 0, framework.Config{Classic: true}, vmnet.NetworkConfig{}},
		{"classic", macOS15, 0, framework.Config{}, vmnet.NetworkConfig{}},
		{"classic storm", macOS15, 2, framework.Config{}, vmnet.NetworkConfig{}},
		{"classic host", macOS11, 0, framework.Config{}, vmnet.NetworkConfig{Mode: vmnet.Host}},
		{"oldest", macOS10_15, 0, framework.Config{}, vmnet.NetworkConfig{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := load(t, c.release)
			if c.events != 0 {
				l.control(t, "events", c.events)
			}
			c.network.Name = fmt.Sprintf("suite-%s-", c.name)
			vmnettest.TestDriver(t, vmnettest.Harness{Driver: l.driver(t, c.cfg), Network: c.network})
		})
	}
}
