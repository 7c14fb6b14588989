package docs_test

// setup are scripts that make what a page takes for granted.
var setup = map[string]string{
	"docs/observe.md":  attachC1,
	"docs/runtimes.md": attachC1,
	"docs/api.md": `vmnet-shim serve >serve.log 2>&1 &
		n=0; until vmnet-shim ls >/dev/null 2>&1; do n=$((n+1)); test $n -lt 150; sleep 0.2; done`,
	"docs/configure.md": `mkdir net.d; cp ../examples/net.d/20-host.conflist net.d
		echo '{"cniVersion":"1.1.0","name":"shared","plugins":[{"type":"vmnet","mtu":9,"frame":"dgram"}]}' >net.d/10-shared.conflist`,
	"docs/dropin.md": `mkdir in; cd in; ln -s ../../bin/vmnet-shim vmnet-shim`,
}

// attachC1 makes the attachment shared, c1, eth0.
const attachC1 = `echo '{"cniVersion":"1.1.0","name":"shared","type":"vmnet"}' |
	CNI_COMMAND=ADD CNI_CONTAINERID=c1 CNI_IFNAME=eth0 CNI_NETNS=vm://c1 CNI_PATH=/ vmnet`

// instead are commands, or their beginnings, for which others run, that do the same
// without what a test may not do.
var instead = map[string]string{
	"make demo":            "demo -bin bin -net-dir examples/net.d",
	"cd /etc/cni/net.d &&": "cd net.d &&",
	"go run .":             "handover", // built from examples/handover
}

// fails are commands that end with exit code 1, as their page says.
var fails = []string{"cd /etc/cni/net.d && vmnet validate *.conflist"}

// An unrunnable is a command, or how it begins, that does not run in this test.
type unrunnable struct {
	page, command string
	why           string
	proof         string // the test that runs the same elsewhere, if any
}

const (
	mac   = "macOS only"
	long  = "takes minutes, and what it prints are figures"
	other = "another project's program, not here"
	host  = "changes this machine"
	proxy = "downloads"
)

var unrun = []unrunnable{
	{"README.md", "make build", "the programs are built by this test", ""},
	{"conformance/cni/README.md", "go run ", proxy, "conformance/cni TestVMNet"},
	{"docs/install.md", "make build", "the programs are built by this test", ""},
	{"docs/install.md", "sudo ", host, "packaging TestDebianLife"},
	{"docs/install.md", "brew ", other, ""},
	{"docs/macos.md", "make build sign", mac, ""},
	{"docs/macos.md", "go test -exec packaging/macos/run-signed", mac, ""},
	{"docs/macos.md", "sudo go test ", mac, ""},
	{"docs/macos.md", "log stream ", mac, ""},
	{"docs/observe.md", "vmnet-shim capture ", "wants Wireshark, and runs until it is told to end", "conformance/e2e TestCapture"},
	{"docs/performance.md", "make bench", long, ""},
	{"docs/performance.md", "VMNET_SCALE_ATTACHMENTS=1000 ", long, ""},
	{"docs/performance.md", "go test -run '^$' -bench . -benchtime 2s", long, ""},
	{"docs/scale.md", "vmnet-shim serve --ipam-store etcd", "wants a cluster", "cmd/vmnet-shim TestServeEtcd"},
	{"examples/cnitool/README.md", "go install ", proxy, ""},
	{"examples/cnitool/README.md", "sudo ", host, "conformance/e2e TestExampleCnitool"},
	{"examples/colima/README.md", "sudo ./link.sh", host, "conformance/e2e TestExamplesSocketVMNet"},
	{"examples/colima/README.md", "colima ", other, ""},
	{"examples/containerd/README.md", "sudo ", host, "conformance/e2e TestContainerd"},
	{"examples/krunkit/README.md", "./run.sh ", other, "conformance/e2e TestExamplesMac"},
	{"examples/krunkit/README.md", "krunkit ", other, "cmd/vmnet-shim TestGuestArgs"},
	{"examples/lima/README.md", "sudo ", host, "conformance/e2e TestExamplesSocketVMNet"},
	{"examples/lima/README.md", "cp networks.yaml", host, ""},
	{"examples/lima/README.md", "limactl ", other, ""},
	{"examples/lima/README.md", "./socket.sh ", "runs until it is told to end", "conformance/e2e TestExamplesSocketVMNet"},
	{"examples/minikube/README.md", "sudo ./link.sh", host, "conformance/e2e TestExampleMinikube"},
	{"examples/minikube/README.md", "minikube ", other, ""},
	{"examples/nerdbox/README.md", "./run.sh ", other, "conformance/e2e TestExamplesMac"},
	{"examples/qemu/README.md", "./fd.sh ", "wants a disk", "conformance/e2e TestExamplesQEMU"},
	{"examples/vfkit/README.md", "./run.sh ", other, "conformance/e2e TestExamplesMac"},
	{"examples/vfkit/README.md", "vfkit ", other, "cmd/vmnet-shim TestGuestArgs"},
}
