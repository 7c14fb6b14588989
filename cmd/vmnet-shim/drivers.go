package main

import (
	"os"
	"runtime"

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
func newDrivers(dirs shim.Dirs, log logrus.FieldLogger, guest netstack.Limits) (drivers map[string]vmnet.Driver, problems []string) {
	drivers = map[string]vmnet.Driver{
		shim.DriverNetstack: netstack.New(netstack.Config{Limits: guest, Log: log.WithField("driver", shim.DriverNetstack).Debugf}),
	}
	if runtime.GOOS == "linux" {
		drivers[shim.DriverTap] = tap.New(tap.Config{Owner: dirs.State, Log: log.WithField("driver", shim.DriverTap).Infof})
	}
	if runtime.GOOS != "darwin" && os.Getenv("VMNET_FRAMEWORK_LIBRARY") == "" {
		return drivers, nil
	}
	fw, err := framework.New(framework.Config{Log: log.WithField("driver", shim.DriverVmnet).Infof})
	if err != nil {
		return drivers, []string{err.Error()}
	}
	drivers[shim.DriverVmnet] = fw
	return drivers, nil
}
