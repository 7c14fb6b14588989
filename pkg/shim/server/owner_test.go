package server_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/vmnet-cni/vmnet/internal/require"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

const nobody = 65534

// playClient sends one request, "method path body" to the socket, and prints
// status and body.
func playClient(args []string) int {
	a, err := do(args[0], args[1], args[2], args[3])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Printf("%d %s", a.status, a.body)
	return 0
}

// doAs sends a request as another user.
func (r *running) doAs(uid uint32, exe, method, path, body string) string {
	r.t.Helper()
	cmd := exec.Command(exe, r.dirs.ShimSocket(), method, path, body)
	cmd.Env = []string{roleEnv + "=client"}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "error " + stderr.String()
	}
	return string(out)
}

// publicSelf copies the test binary to where others can run it.
func publicSelf(t *testing.T, dir string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	path := filepath.Join(dir, "client")
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOwners(t *testing.T) {
	require.Root(t)
	cfg := config(newDirs(t))
	cfg.OtherUsers = true
	r := start(t, cfg)
	exe := publicSelf(t, filepath.Dir(cfg.Dirs.State))
	as := func(method, path, body string) string {
		t.Helper()
		return r.doAs(nobody, exe, method, path, body)
	}
	if got := as("GET", "/v1/status", ""); !strings.HasPrefix(got, "error") {
		t.Errorf("socket of mode 0600: %s, want no connection", got)
	}
	if err := os.Chmod(cfg.Dirs.ShimSocket(), 0o666); err != nil {
		t.Fatal(err)
	}
	mine := r.attach("roots", "c1", shim.AttachRequest{MAC: "02:00:00:00:00:01"})
	tests := []struct{ method, path, body, want string }{
		{"GET", "/v1/status", "", `"networks":0,"attachments":0`},
		{"GET", "/v1/attachments", "", "200 []"},
		{"GET", "/v1/networks", "", "200 []"},
		{"GET", "/v1/networks/roots", "", "404"},
		{"GET", "/v1/networks/roots/attachments/c1/eth0", "", "404"},
		{"POST", "/v1/networks/roots/gc", `{"valid":[]}`, `200 {"deleted":[]}`},
		{"DELETE", "/v1/networks/roots/attachments/c1/eth0", "", "204"},
		{"PUT", "/v1/networks/roots/attachments/c1/eth0", `{"mac":"02:00:00:00:00:01"}`, `403 {"code":"permission_denied"`},
		{"PUT", "/v1/networks/roots/attachments/c2/eth0", "{}", `403 {"code":"permission_denied"`},
		{"GET", "/metrics", "", "vmnet_attachments 0"},
		{"PUT", "/v1/networks/theirs/attachments/c1/eth0", "{}", `201 {"network":"theirs"`},
		{"GET", "/v1/networks/theirs", "", `"attachments":1`},
	}
	for _, tt := range tests {
		if got := as(tt.method, tt.path, tt.body); !strings.Contains(got, tt.want) || strings.HasPrefix(got, "error") {
			t.Errorf("%s %s as another user: %s, want %s", tt.method, tt.path, got, tt.want)
		}
	}
	if a, err := r.Attachment(t.Context(), "roots", "c1", "eth0"); err != nil || a.MAC != mine.MAC {
		t.Errorf("root's attachment: %v, want it untouched", err)
	}
	theirs, err := r.Attachment(t.Context(), "theirs", "c1", "eth0") // root sees all
	if err != nil || theirs.Owner != nobody {
		t.Fatalf("%+v, %v, want owner %d", theirs, err, nobody)
	}
	fi, err := os.Stat(theirs.SocketPath)
	if err != nil || fi.Sys().(*syscall.Stat_t).Uid != nobody || fi.Mode().Perm() != 0o600 {
		t.Errorf("socket %v, %v, want it to be theirs alone", fi, err)
	}
	r.attach("theirs", "c2", shim.AttachRequest{}) // root may join
	if err := r.Detach(t.Context(), "theirs", "c1", "eth0"); err != nil {
		t.Error(err)
	}
}

func TestStrangersAreRefused(t *testing.T) {
	require.Root(t)
	cfg := config(newDirs(t))
	r := start(t, cfg)
	if err := os.Chmod(cfg.Dirs.ShimSocket(), 0o666); err != nil {
		t.Fatal(err)
	}
	got := r.doAs(nobody, publicSelf(t, filepath.Dir(cfg.Dirs.State)), "GET", "/v1/status", "")
	body, ok := strings.CutPrefix(got, "403 ")
	var e shim.Error
	if !ok || json.Unmarshal([]byte(body), &e) != nil || e.Code != shim.CodeDenied {
		t.Errorf("answer %s, want permission_denied", got)
	}
}
