package e2e_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/internal/require"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// containerd returns the directory with Debian's containerd and runc.
func containerd(t *testing.T) string {
	t.Helper()
	dir := require.Unpacked(t, "containerd")
	if _, err := os.Stat(filepath.Join(dir, "usr/bin/containerd")); err != nil {
		require.Tool(t, "containerd") // not there either: proves it
		return "/"
	}
	return dir
}

// TestContainerd has the example's "ctr run --cni" start a container on our network: it has the
// address that the shim says, reaches a server outside, and leaves nothing.
func TestContainerd(t *testing.T) {
	require.Root(t)
	programs := containerd(t)
	require.Tool(t, "busybox")
	require.Tool(t, "curl")
	require.Tool(t, "nft")
	machine, outside := newNamespace(t), newNamespace(t)
	machine.script(t, `ip link set lo up; ip link add up0 type veth peer name out0; ip link set out0 netns "$1"
		ip addr add `+macUplink+`/24 dev up0; ip link set up0 up`, fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), outside.file.Fd()))
	outside.script(t, "ip link set lo up; ip addr add "+outsideAddr+"/24 dev out0; ip link set out0 up")
	l := serveOutside(t, outside)

	dir := t.TempDir()
	layout(t, dir)
	out := runCtr(t, machine, dir, programs, "sh", "-c", "ip -o addr show eth0; ip route; wget -q -O - http://"+l.Addr().String()+"/")
	for _, want := range []string{"inet 192.168.", "default via 192.168.", "hello from outside"} {
		if !strings.Contains(out, want) {
			t.Errorf("the container does not say %q:\n%s", want, out)
		}
	}
	for _, what := range []string{"links", "rules"} {
		if before, after := read(t, dir, what+".before"), read(t, dir, what+".after"); before != after {
			t.Errorf("%s before:\n%s\nand after:\n%s", what, before, after)
		}
	}
	var st shim.Status
	if err := json.Unmarshal([]byte(read(t, dir, "status.json")), &st); err != nil || st.Attachments != 0 || st.Networks != 0 {
		t.Errorf("the shim after it: %+v, %v", st, err)
	}
	if s := read(t, dir, "sockets"); s != "" {
		t.Errorf("sockets left: %s", s)
	}
}

// serveOutside answers HTTP outside of the machine.
func serveOutside(t *testing.T, outside namespace) net.Listener {
	t.Helper()
	var l net.Listener
	err := outside.do(func() (err error) { l, err = net.Listen("tcp4", outsideAddr+":0"); return err })
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "hello from outside\n")
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	return l
}

// runCtr runs the script in the machine's namespace, and mounts of its own.
func runCtr(t *testing.T, machine namespace, dir, programs string, argv ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	var stdout, stderr bytes.Buffer
	err := machine.do(func() error {
		cmd := exec.CommandContext(ctx, "bash", append([]string{"testdata/ctr.sh", dir, programs, example(t, "containerd/run.sh")}, argv...)...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		return cmd.Run()
	})
	if err != nil {
		log, _ := os.ReadFile(filepath.Join(dir, "containerd.log"))
		t.Fatalf("ctr: %v\n%s%s\n%s", err, &stdout, &stderr, log)
	}
	return stdout.String()
}

func read(t *testing.T, dir, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// layout makes what testdata/ctr.sh wants.
func layout(t *testing.T, dir string) {
	t.Helper()
	net := filepath.Join(dir, "etc/cni/net.d")
	if err := os.MkdirAll(net, 0o755); err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadFile(example(t, "containerd/10-shared.conflist"))
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"etc/cni/net.d/10-shared.conflist": list, "image.tar": image(t),
		"etc/passwd": []byte("root:x:0:0::/:/bin/sh\n"), "etc/group": []byte("root:x:0:\n"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.CopyFS(filepath.Join(dir, "bin"), os.DirFS(bin)); err != nil {
		t.Fatal(err)
	}
}

// image returns an image of busybox as a tar of an OCI image layout
// (image-spec v1.0, image-layout.md).
func image(t *testing.T) []byte {
	t.Helper()
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	layer := archive(t, func(add func(tar.Header, []byte)) {
		for _, d := range []string{"bin", "proc", "sys", "dev", "etc", "tmp"} {
			add(tar.Header{Name: d, Typeflag: tar.TypeDir, Mode: 0o755}, nil)
		}
		add(tar.Header{Name: "bin/busybox", Mode: 0o755}, program)
		for _, tool := range []string{"sh", "ip", "wget"} {
			add(tar.Header{Name: "bin/" + tool, Typeflag: tar.TypeSymlink, Linkname: "busybox"}, nil)
		}
	})
	blobs := map[string][]byte{}
	blob := func(kind string, v any) map[string]any {
		data, raw := v.([]byte)
		if !raw {
			if data, err = json.Marshal(v); err != nil {
				t.Fatal(err)
			}
		}
		sum := fmt.Sprintf("%x", sha256.Sum256(data))
		blobs[sum] = data
		return map[string]any{"mediaType": "application/vnd.oci.image." + kind, "digest": "sha256:" + sum, "size": len(data)}
	}
	files := blob("layer.v1.tar", layer)
	config := blob("config.v1+json", map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "config": map[string]any{"Env": []string{"PATH=/bin"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []any{files["digest"]}},
	})
	manifest := blob("manifest.v1+json", map[string]any{"schemaVersion": 2, "config": config, "layers": []any{files}})
	manifest["annotations"] = map[string]string{"io.containerd.image.name": "example.org/guest:1"}
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []any{manifest}})
	if err != nil {
		t.Fatal(err)
	}
	return archive(t, func(add func(tar.Header, []byte)) {
		add(tar.Header{Name: "oci-layout", Mode: 0o644}, []byte(`{"imageLayoutVersion":"1.0.0"}`))
		add(tar.Header{Name: "index.json", Mode: 0o644}, index)
		for sum, data := range blobs {
			add(tar.Header{Name: "blobs/sha256/" + sum, Mode: 0o644}, data)
		}
	})
}

func archive(t *testing.T, fill func(add func(tar.Header, []byte))) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	fill(func(h tar.Header, data []byte) {
		h.Size = int64(len(data))
		err := w.WriteHeader(&h)
		if err == nil {
			_, err = w.Write(data)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}
