package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/pflag"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/ipam/boltstore"
	"github.com/vmnet-cni/vmnet/pkg/ipam/etcdstore"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// leasesWait is how long a starting shim waits for the lease file of one that
// is just leaving.
const leasesWait = 15 * time.Second

// storeFlags say where the leases are kept.
type storeFlags struct {
	kind          string
	endpoints     []string
	ca, cert, key string
	user, pwFile  string
	prefix        string
	machine       string
	timeout       time.Duration
	ttl, grace    time.Duration
}

func (f *storeFlags) register(fl *pflag.FlagSet) {
	fl.StringVar(&f.kind, "ipam-store", "bolt", "where leases are kept: bolt (a file in the state directory) or etcd (shared by machines)")
	fl.StringSliceVar(&f.endpoints, "etcd-endpoints", nil, "members of the etcd cluster, as https://etcd1:2379")
	fl.StringVar(&f.ca, "etcd-cacert", "", "file of the certificates that verify the members, with https (default the system's)")
	fl.StringVar(&f.cert, "etcd-cert", "", "file of this machine's certificate")
	fl.StringVar(&f.key, "etcd-key", "", "file of its key")
	fl.StringVar(&f.user, "etcd-user", "", "user name")
	fl.StringVar(&f.pwFile, "etcd-password-file", "", "file of the password")
	fl.StringVar(&f.prefix, "etcd-prefix", etcdstore.DefaultPrefix, "what the keys of the fleet begin with")
	fl.StringVar(&f.machine, "machine", "", "name of this machine in the fleet (default the host's name and an ID that the state directory keeps)")
	fl.DurationVar(&f.timeout, "etcd-timeout", etcdstore.DefaultTimeout, "longest wait for etcd")
	fl.DurationVar(&f.ttl, "etcd-ttl", etcdstore.DefaultTTL, "a machine that gives no sign of life for so long counts as dead")
	fl.DurationVar(&f.grace, "etcd-grace", etcdstore.DefaultGrace, "how much longer a dead machine keeps its leases")
}

// A leaseStore is an open store and its allocator. back tells when leases should
// be reclaimed.
type leaseStore struct {
	leases   *ipam.Allocator
	problems []string
	back     chan struct{}
}

func (f *storeFlags) open(dirs shim.Dirs, log *logrus.Logger) (*leaseStore, error) {
	switch f.kind {
	case "bolt":
		return openBolt(dirs)
	case "etcd":
		return f.openEtcd(dirs, log)
	}
	return nil, fmt.Errorf("--ipam-store %q: want bolt or etcd", f.kind)
}

func openBolt(dirs shim.Dirs) (*leaseStore, error) {
	s := &leaseStore{}
	store, err := boltstore.Open(filepath.Join(dirs.State, "leases.db"), boltstore.Config{
		Timeout: leasesWait,
		// A machine that loses power loses its guests too; waiting for the disk was
		// a quarter of an ADD.
		SyncAfter: time.Second,
		OnDamage: func(d boltstore.Damage) {
			s.problems = append(s.problems, fmt.Sprintf("lease file %s was damaged (%v) and is now %s", d.Path, d.Err, d.SavedAs))
		},
	})
	if err != nil {
		return nil, err
	}
	s.leases = ipam.New(store, ipam.Config{})
	return s, nil
}

func (f *storeFlags) openEtcd(dirs shim.Dirs, log *logrus.Logger) (*leaseStore, error) {
	s := &leaseStore{back: make(chan struct{}, 1)}
	cfg := etcdstore.Config{
		Endpoints: f.endpoints, Username: f.user, Prefix: f.prefix, Machine: f.machine,
		Timeout: f.timeout, TTL: f.ttl, Grace: f.grace, OnEvent: func(e etcdstore.Event) { s.event(e, log) },
	}
	var err error
	if f.ca != "" || f.cert != "" || f.key != "" || len(f.endpoints) > 0 && strings.HasPrefix(f.endpoints[0], "https:") {
		if cfg.TLS, err = etcdstore.LoadTLS(f.ca, f.cert, f.key); err != nil {
			return nil, err
		}
	}
	if f.pwFile != "" {
		data, err := os.ReadFile(f.pwFile)
		if err != nil {
			return nil, fmt.Errorf("--etcd-password-file: %w", err)
		}
		cfg.Password = strings.TrimRight(string(data), "\r\n")
	}
	if cfg.Machine == "" {
		if cfg.Machine, err = machineName(dirs); err != nil {
			return nil, err
		}
	}
	store, err := etcdstore.Open(cfg)
	if err != nil {
		return nil, err
	}
	log.WithField("machine", cfg.Machine).WithField("endpoints", f.endpoints).Info("leases are shared in etcd")
	s.leases = ipam.New(store, ipam.Config{Machine: cfg.Machine})
	return s, nil
}

// event logs what becomes of the machine in the fleet, and asks for the leases to
// be reclaimed when it is back.
func (s *leaseStore) event(e etcdstore.Event, log *logrus.Logger) {
	switch e.Kind {
	case etcdstore.Down, etcdstore.Replaced:
		log.WithError(e.Err).Error("leases: this machine is not in the fleet")
		return
	case etcdstore.Reaped:
		log.WithField("machine", e.What).WithField("leases", e.N).Warn("leases of a dead machine released")
		return
	}
	log.WithField("event", string(e.Kind)).Info("leases: this machine is in the fleet")
	select {
	case s.back <- struct{}{}:
	default: // asked for already
	}
}

// reclaim reclaims leases whenever that is asked for, until ctx ends.
func (s *leaseStore) reclaim(ctx context.Context, do func(context.Context) error, log *logrus.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.back: // nil for a store that never goes away
			if err := do(ctx); err != nil {
				log.WithError(err).Error("leases not reclaimed")
			}
		}
	}
}

// machineName returns the name of this machine, which the state directory keeps:
// the same host may have another user's shim, or another host the same name.
func machineName(dirs shim.Dirs) (string, error) {
	file := filepath.Join(dirs.State, "machine")
	data, err := os.ReadFile(file)
	if name := strings.TrimSpace(string(data)); err == nil && name != "" {
		return name, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	host, err := os.Hostname()
	if err != nil {
		return "", err
	}
	name := strings.ReplaceAll(host, "/", "-") + "-" + strings.ToLower(rand.Text()[:10])
	// Complete or not there, also after a loss of power: a name that is cut short would
	// be another's, and leases of a name that is lost stay with it.
	tmp := file + ".new"
	if err := writeSynced(tmp, name+"\n"); err != nil {
		return "", err
	}
	if err := os.Rename(tmp, file); err != nil {
		return "", err
	}
	dir, err := os.Open(dirs.State)
	if err != nil {
		return "", err
	}
	return name, errors.Join(dir.Sync(), dir.Close())
}

// writeSynced writes a file that is on the disk when it returns.
func writeSynced(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Sync(), f.Close())
}
