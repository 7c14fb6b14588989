package framework

import "github.com/vmnet-cni/vmnet/pkg/vmnet"

// SetRoot has a driver take its process for root's, or not.
func SetRoot(d vmnet.Driver, root bool) { d.(*driver).root = root }
