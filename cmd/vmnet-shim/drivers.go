package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/sirupsen/logrus"

	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/framework"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/netstack"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/tap"
)

// newDrivers returns the drivers of this machine: netstack always, tap on
// Linux, the framework on macOS and wherever a library with its ABI is named. A framework
// that cannot be loaded is told in problems and harms nothing else.
//
// The state directory tells what a shim made in the system from what others made.
// Where only names drivers, there are no others.
func newDrivers(dirs shim.Dirs, log logrus.FieldLogger, guest netstack.Limits, only []string) (drivers map[string]vmnet.Driver, problems []string) {
	wanted := func(name string) bool { return len(only) == 0 || slices.Contains(only, name) }
	drivers = map[string]vmnet.Driver{}
	if wanted(shim.DriverNetstack) {
		drivers[shim.DriverNetstack] = netstack.New(netstack.Config{Limits: guest, Log: log.WithField("driver", shim.DriverNetstack).Debugf})
	}
	if runtime.GOOS == "linux" && wanted(shim.DriverTap) {
		drivers[shim.DriverTap] = tap.New(tap.Config{Owner: dirs.State, Log: log.WithField("driver", shim.DriverTap).Infof})
	}
	if !wanted(shim.DriverVmnet) || runtime.GOOS != "darwin" && os.Getenv("VMNET_FRAMEWORK_LIBRARY") == "" {
		return drivers, nil
	}
	fw, err := framework.New(framework.Config{Log: log.WithField("driver", shim.DriverVmnet).Infof})
	if err != nil {
		return drivers, []string{err.Error()}
	}
	drivers[shim.DriverVmnet] = fw
	return drivers, nil
}

// checkDrivers says which of the names given to --drivers is none of a driver that
// this system can have.
func checkDrivers(names []string) error {
	can := []string{shim.DriverNetstack, shim.DriverVmnet}
	if runtime.GOOS == "linux" {
		can = append(can, shim.DriverTap)
	}
	for _, n := range names {
		if !slices.Contains(can, n) {
			return fmt.Errorf("--drivers %q: want some of %s", n, strings.Join(can, ", "))
		}
	}
	return nil
}
