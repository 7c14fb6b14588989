package handover_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/vmnet-cni/vmnet/pkg/handover"
)

// A runtime takes the frame fd that CNI ADD pushes to it.
func ExampleListen() {
	l, err := handover.Listen(filepath.Join(os.TempDir(), fmt.Sprintf("vm1-%d.sock", os.Getpid())))
	if err != nil {
		panic(err)
	}
	defer l.Close()
	go callADD(l.Path()) // through libcni, with CNI_NETNS = l.Path()

	offer, err := l.Accept(context.Background())
	if err != nil {
		panic(err)
	}
	if err := offer.Accept(); err != nil {
		panic(err)
	}
	defer offer.File.Close() // give it to the machine's virtio-net device
	fmt.Println(offer.Message.Kind, offer.Message.MAC, offer.Message.MTU, offer.Message.IPs)
	// Output: dgram 02:00:00:00:00:01 1500 [192.168.127.2/24]
}

// callADD stands for the plugin.
func callADD(netns string) {
	guest, host, err := handover.Pair(handover.KindDgram, 1514, false)
	if err != nil {
		panic(err)
	}
	defer guest.Close()
	defer host.Close()
	err = handover.Push(context.Background(), netns, handover.Message{
		Network: "shared", ContainerID: "vm1", IfName: "eth0", Kind: handover.KindDgram,
		MAC: "02:00:00:00:00:01", MTU: 1500, MaxFrameSize: 1514, IPs: []string{"192.168.127.2/24"},
	}, guest)
	if err != nil {
		panic(err)
	}
}
