// Package etcdtest runs an etcd of one member for tests of programs that use it.
// It has no etcd client: what is to be set up goes through etcd's HTTP gateway.
package etcdtest

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/internal/port"
	"github.com/vmnet-cni/vmnet/internal/require"
)

// A Member is the only member of a cluster, in a process that ends with the test.
type Member struct {
	// Endpoint is its URL.
	Endpoint string
	// CA, Cert and Key are files for its clients. Empty without TLS.
	CA, Cert, Key string

	t    testing.TB
	args []string
	dir  string

	mu  sync.Mutex // guards the following field
	cmd *exec.Cmd  // nil: killed
}

// Start starts a member on the loopback that answers when Start returns. With
// secure it wants certificates of its clients.
func Start(t testing.TB, secure bool) *Member {
	t.Helper()
	m := &Member{t: t, dir: t.TempDir()}
	addr := fmt.Sprintf("127.0.0.1:%d", port.Free(t, 1)[0])
	m.Endpoint = "http://" + addr
	if secure {
		m.Endpoint = "https://" + addr
		m.CA, m.Cert, m.Key = Certificates(t, m.dir)
	}
	// etcd 3.4 wants HOST:PORT of a unix socket too, and takes it for a file of
	// that name in its directory.
	const peer = "unix://p:0"
	m.args = []string{require.UnpackedTool(t, "etcd", "usr/bin/etcd"), "--data-dir", filepath.Join(m.dir, "data"), "--log-level", "error",
		"--listen-client-urls", m.Endpoint, "--advertise-client-urls", m.Endpoint,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default=" + peer}
	if secure {
		m.args = append(m.args, "--trusted-ca-file", m.CA, "--cert-file", m.Cert, "--key-file", m.Key, "--client-cert-auth")
	}
	m.Restart()
	t.Cleanup(m.Kill)
	return m
}

// Restart starts the member again on the files that it had, and waits until it
// answers.
func (m *Member) Restart() {
	m.t.Helper()
	log, err := os.OpenFile(filepath.Join(m.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		m.t.Fatal(err)
	}
	defer func() { _ = log.Close() }() // the process has its own
	cmd := exec.Command(m.args[0], m.args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = m.dir, log, log, procAttr()
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.mu.Lock()
	m.cmd = cmd
	m.mu.Unlock()
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		err := m.call(m.t.Context(), "kv/range", map[string]string{"key": b64("x")})
		if err == nil || isAnswer(err) {
			return
		}
		if time.Now().After(end) {
			text, _ := os.ReadFile(log.Name())
			m.t.Fatalf("etcd does not answer: %v\n%s", err, text)
		}
	}
}

// Kill ends the member as a crash would. It is idempotent.
func (m *Member) Kill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cmd != nil {
		_ = m.cmd.Process.Kill()
		_ = m.cmd.Wait()
		m.cmd = nil
	}
}

// EnableAuth makes a user who may read and write what begins with prefix, and
// lets in nobody else.
func (m *Member) EnableAuth(user, password, prefix string) {
	m.t.Helper()
	end := []byte(prefix)
	end[len(end)-1]++
	for _, step := range []struct {
		path string
		body any
	}{
		{"auth/user/add", map[string]string{"name": "root", "password": "root"}},
		{"auth/role/add", map[string]string{"name": "root"}},
		{"auth/user/grant", map[string]string{"user": "root", "role": "root"}},
		{"auth/role/add", map[string]string{"name": "fleet"}},
		{"auth/role/grant", map[string]any{"name": "fleet", "perm": map[string]string{"permType": "READWRITE", "key": b64(prefix), "range_end": b64(string(end))}}},
		{"auth/user/add", map[string]string{"name": user, "password": password}},
		{"auth/user/grant", map[string]string{"user": user, "role": "fleet"}},
		{"auth/enable", struct{}{}},
	} {
		if err := m.call(m.t.Context(), step.path, step.body); err != nil {
			m.t.Fatal(err)
		}
	}
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// An answer is an error that etcd itself returned.
type answer struct {
	path, status, text string
}

func (a *answer) Error() string { return fmt.Sprintf("etcd %s: %s: %s", a.path, a.status, a.text) }

func isAnswer(err error) bool {
	var a *answer
	return errors.As(err, &a)
}

// call makes a request of the gateway (v3 of etcd 3.4 and later).
func (m *Member) call(ctx context.Context, path string, in any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.Endpoint+"/v3/"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	transport := &http.Transport{DisableKeepAlives: true}
	if m.CA != "" {
		// The test made the certificate a moment ago; its client's side is what counts.
		pair, err := tls.LoadX509KeyPair(m.Cert, m.Key)
		if err != nil {
			return err
		}
		transport.TLSClientConfig = &tls.Config{Certificates: []tls.Certificate{pair}, InsecureSkipVerify: true} //nolint:gosec // see above
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return &answer{path, resp.Status, string(text)}
	}
	return nil
}
