package main

import (
	"os"
	"runtime"

	"github.com/sirupsen/logrus"

	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/framework"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/netstack"
)

// newDrivers returns the drivers of this machine: netstack always, the
// framework on macOS and wherever a library with its ABI is named. A framework
// that cannot be loaded is told in problems and harms nothing else.
func newDrivers(log logrus.FieldLogger) (drivers map[string]vmnet.Driver, problems []string) {
	drivers = map[string]vmnet.Driver{
		shim.DriverNetstack: netstack.New(netstack.Config{Log: log.WithField("driver", shim.DriverNetstack).Debugf}),
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
