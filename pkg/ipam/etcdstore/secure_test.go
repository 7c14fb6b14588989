package etcdstore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/vmnet-cni/vmnet/internal/etcdtest"
	"github.com/vmnet-cni/vmnet/internal/port"
	"github.com/vmnet-cni/vmnet/internal/require"
	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/ipam/etcdstore"
)

// TestSecure uses a cluster that wants certificates and a password.
func TestSecure(t *testing.T) {
	t.Parallel()
	dir := fastDir(t)
	ca, cert, key := etcdtest.Certificates(t, dir)
	endpoint := fmt.Sprintf("https://127.0.0.1:%d", port.Free(t, 1)[0])
	p := startProc(t, dir, require.Tool(t, "etcd"), "--data-dir", filepath.Join(dir, "data"), "--log-level", "error",
		"--listen-client-urls", endpoint, "--advertise-client-urls", endpoint, "--listen-peer-urls", "unix://p:0",
		"--initial-advertise-peer-urls", "unix://p:0", "--initial-cluster", "default=unix://p:0",
		"--trusted-ca-file", ca, "--cert-file", cert, "--key-file", key, "--client-cert-auth")
	tlsConfig, err := etcdstore.LoadTLS(ca, cert, key)
	if err != nil {
		t.Fatal(err)
	}
	cfg := etcdstore.Config{Endpoints: []string{endpoint}, TLS: tlsConfig, Timeout: 3 * time.Second}
	ready(t, open(t, cfg))
	enableAuth(t, cfg)
	use := func(s *etcdstore.Store, name string) error {
		_, err := ipam.New(s, ipam.Config{}).Allocate(context.Background(), request(name, fleetPool("10.0.0.0/24")))
		return err
	}
	good := cfg
	good.Username, good.Password = "vmnet", "secret"
	patient := good
	patient.Timeout = time.Minute
	if err := use(open(t, patient), "good"); err != nil {
		t.Errorf("with the password: %v", err)
	}
	wrong := good
	wrong.Password = "wrong"
	noCert := good
	noCert.TLS, err = etcdstore.LoadTLS(ca, "", "")
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := good
	elsewhere.Prefix = "/other/"
	var wg sync.WaitGroup
	for name, cfg := range map[string]etcdstore.Config{"no user": cfg, "wrong password": wrong, "no certificate": noCert, "foreign prefix": elsewhere} {
		s := open(t, cfg)
		wg.Go(func() {
			begin := time.Now()
			err := use(s, name)
			if !errors.Is(err, ipam.ErrUnavailable) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: %v", name, err)
			}
			t.Logf("%s: after %s: %v", name, time.Since(begin).Round(time.Millisecond), err)
		})
	}
	wg.Wait()
	other := good
	other.Timeout = 12 * time.Second
	other.Endpoints = append([]string{"https://127.0.0.1:1"}, good.Endpoints...) // nobody is there
	for i := range 4 {                                                           // which is asked first is chance
		s := open(t, other)
		wg.Go(func() {
			if err := use(s, fmt.Sprint("other", i)); err != nil {
				t.Errorf("with a member that is away: %v", err)
			}
		})
	}
	wg.Wait()
	// Away when the store is opened, there later.
	p.kill()
	good.Timeout = 4 * time.Second // a slow machine hashes the password in a part of it
	late := open(t, good)
	if _, err := ipam.New(late, ipam.Config{}).List(context.Background(), ""); !errors.Is(err, ipam.ErrUnavailable) {
		t.Errorf("while etcd is away: %v", err)
	}
	p.start()
	ready(t, late)
}

// enableAuth gives the user vmnet the default prefix, and nobody else anything.
func enableAuth(t *testing.T, cfg etcdstore.Config) {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: cfg.Endpoints, TLS: cfg.TLS})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	ctx := context.Background()
	prefix := etcdstore.DefaultPrefix
	for _, do := range []func() error{
		func() error { _, err := c.UserAdd(ctx, "root", "root"); return err },
		func() error { _, err := c.UserGrantRole(ctx, "root", "root"); return err },
		func() error { _, err := c.RoleAdd(ctx, "fleet"); return err },
		func() error {
			_, err := c.RoleGrantPermission(ctx, "fleet", prefix, clientv3.GetPrefixRangeEnd(prefix), clientv3.PermissionType(clientv3.PermReadWrite))
			return err
		},
		func() error { _, err := c.UserAdd(ctx, "vmnet", "secret"); return err },
		func() error { _, err := c.UserGrantRole(ctx, "vmnet", "fleet"); return err },
		func() error { _, err := c.AuthEnable(ctx); return err },
	} {
		if err := do(); err != nil && !strings.Contains(err.Error(), "already exists") {
			t.Fatal(err)
		}
	}
}

func TestConfig(t *testing.T) {
	ok := etcdstore.Config{Endpoints: []string{"http://127.0.0.1:1"}}
	for name, change := range map[string]func(*etcdstore.Config){
		"endpoints: want one":   func(c *etcdstore.Config) { c.Endpoints = nil },
		`"127.0.0.1:2379"`:      func(c *etcdstore.Config) { c.Endpoints = []string{"127.0.0.1:2379"} },
		`"ftp://a:1"`:           func(c *etcdstore.Config) { c.Endpoints = []string{"ftp://a:1"} },
		"no certificates":       func(c *etcdstore.Config) { c.Endpoints = []string{"https://a:1"} },
		"ends in /":             func(c *etcdstore.Config) { c.Prefix = "/x" },
		`machine "a/b"`:         func(c *etcdstore.Config) { c.Machine = "a/b" },
		"TTL 1ms":               func(c *etcdstore.Config) { c.TTL = time.Millisecond },
		"timeout -1s":           func(c *etcdstore.Config) { c.Timeout = -time.Second },
		"password, and no user": func(c *etcdstore.Config) { c.Password = "x" },
	} {
		cfg := ok
		change(&cfg)
		if s, err := etcdstore.Open(cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%+v: %v, %v, want %q", cfg, s, err, name)
		}
	}
	if _, err := etcdstore.LoadTLS("none.pem", "", ""); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no CA file: %v", err)
	}
	if _, err := etcdstore.LoadTLS("", "cert.pem", ""); err == nil {
		t.Error("a certificate without a key")
	}
}
