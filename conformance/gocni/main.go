// Command gocni calls CNI plugins as containerd does, through its library
// go-cni, and prints what came back as JSON. The plugin's tests build and run
// it.
//
// It is a module of its own: go-cni is needed for nothing else, and the modules
// that it brings stay out of the go.mod that users of the packages get.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/go-cni"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "gocni:", err)
		os.Exit(1)
	}
}

// report is what is printed, on one line for each step.
type report struct {
	Step   string      `json:"step"`
	Took   string      `json:"took"`
	Result *cni.Result `json:"result,omitempty"`
	Error  string      `json:"error,omitempty"`
}

func run() error {
	bin := flag.String("bin", "", "directories of the plugins, as CNI_PATH")
	conf := flag.String("conf", "", "directory of the network configurations")
	id := flag.String("id", "default-one", "container ID")
	netns := flag.String("netns", "vm://one", "network namespace")
	port := flag.Uint("port", 0, "port of the host that leads to port 80 of the guest; 0: none")
	flag.Parse()
	var ports []cni.PortMapping
	if *port != 0 {
		ports = append(ports, cni.PortMapping{HostPort: int32(*port), ContainerPort: 80, Protocol: "tcp"})
	}
	c, err := cni.New(cni.WithPluginDir(filepath.SplitList(*bin)), cni.WithPluginConfDir(*conf), cni.WithMinNetworkCount(1),
		cni.WithInterfacePrefix("eth"), cni.WithAllConf)
	if err != nil {
		return err
	}
	options := []cni.NamespaceOpts{
		cni.WithLabels(map[string]string{"IgnoreUnknown": "1", "K8S_POD_NAMESPACE": "default", "K8S_POD_NAME": "one", "K8S_POD_INFRA_CONTAINER_ID": *id, "K8S_POD_UID": "u-1"}),
		cni.WithCapabilityPortMap(ports),
		cni.WithCapabilityBandWidth(cni.BandWidth{IngressRate: 10_000_000, IngressBurst: 1<<32 - 1}),
		cni.WithCapabilityDNS(cni.DNS{Servers: []string{"9.9.9.9"}, Searches: []string{"cluster.local"}}),
		cni.WithCapabilityCgroupPath("/kubepods/one"),
		cni.WithCapability("io.kubernetes.cri.pod-annotations", map[string]string{"a": "b"}),
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	var failed error
	step := func(name string, do func() (*cni.Result, error)) {
		start := time.Now()
		res, err := do()
		r := report{Step: name, Took: time.Since(start).String(), Result: res}
		if err != nil {
			r.Error = err.Error()
			failed = errors.Join(failed, fmt.Errorf("%s: %w", name, err))
		}
		_ = json.NewEncoder(os.Stdout).Encode(r) // nobody is there to tell
	}
	remove := func() (*cni.Result, error) { return nil, c.Remove(ctx, *id, *netns, options...) }
	step("Status", func() (*cni.Result, error) { return nil, c.Status() })
	step("Setup", func() (*cni.Result, error) { return c.Setup(ctx, *id, *netns, options...) })
	step("Check", func() (*cni.Result, error) { return nil, c.Check(ctx, *id, *netns, options...) })
	step("Remove", remove)
	// containerd's CRI removes three times, the last two without a namespace.
	*netns = ""
	step("Remove", remove)
	step("Remove", remove)
	return failed
}
