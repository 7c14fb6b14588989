package cni

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"slices"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	cniversion "github.com/containernetworking/cni/pkg/version"
)

// A libRuntime drives a list of plugins through libcni, as containerd, CRI-O,
// podman and cnitool do.
type libRuntime struct {
	p    *probe
	a    *attachment
	cni  *libcni.CNIConfig
	list *libcni.NetworkConfigList
	caps map[string]any
	last *types100.Result
	bad  error // the list could not be loaded
}

// runtime makes one for the attachment: plugins are the list's, dirs go in front
// of CNI_PATH, and top has more keys for the list.
func (p *probe) runtime(a *attachment, plugins []object, dirs []string, top object) *libRuntime {
	conf := object{"name": a.conf()["name"], "cniVersion": a.conf()["cniVersion"]}
	for k, v := range top {
		conf[k] = v
	}
	var list []any
	for _, o := range plugins {
		c := clone(o).(object)
		delete(c, "name")
		delete(c, "cniVersion")
		list = append(list, c)
	}
	conf["plugins"] = list
	r := &libRuntime{p: p, a: a}
	if r.list, r.bad = libcni.NetworkConfFromBytes(encode(conf)); r.bad != nil {
		return r
	}
	path := append(dirs, p.bin)
	path = append(path, p.target.Path...)
	r.cni = libcni.NewCNIConfigWithCacheDir(path, filepath.Join(p.work, "cache"), p.executor())
	p.cleanup(func() { _ = r.del() })
	return r
}

// An executor executes plugins with more environment.
type executor struct {
	invoke.DefaultExec
	env []string
}

func (s *session) executor() *executor {
	return &executor{
		DefaultExec: invoke.DefaultExec{RawExec: &invoke.RawExec{}, PluginDecoder: cniversion.PluginDecoder{}},
		env:         append(slices.Clone(s.target.Env), marker+"="+s.token),
	}
}

var _ invoke.Exec = (*executor)(nil)

func (e *executor) ExecPlugin(ctx context.Context, path string, stdin []byte, env []string) ([]byte, error) {
	return e.DefaultExec.ExecPlugin(ctx, path, stdin, append(env, e.env...))
}

func (r *libRuntime) conf() *libcni.RuntimeConf {
	return &libcni.RuntimeConf{ContainerID: r.a.id, NetNS: r.a.netns, IfName: r.a.ifname, CapabilityArgs: r.caps}
}

func (r *libRuntime) within(fn func(ctx context.Context) error) error {
	if r.bad != nil {
		return r.bad
	}
	ctx, cancel := context.WithTimeout(r.p.ctx, 3*r.p.target.Timeout)
	defer cancel()
	start := time.Now()
	err := fn(ctx)
	if ctx.Err() != nil {
		return errors.Join(errors.New("hangs"), err)
	}
	if took := time.Since(start); took > 2*r.p.target.Timeout {
		return errors.New("hangs")
	}
	return err
}

func (r *libRuntime) add() error {
	return r.within(func(ctx context.Context) error {
		res, err := r.cni.AddNetworkList(ctx, r.list, r.conf())
		if err != nil {
			return err
		}
		if r.a.result, err = json.Marshal(res); err != nil {
			return err
		}
		r.last, err = types100.NewResultFromResult(res)
		return err
	})
}

func (r *libRuntime) check() error {
	return r.within(func(ctx context.Context) error { return r.cni.CheckNetworkList(ctx, r.list, r.conf()) })
}

func (r *libRuntime) del() error {
	return r.within(func(ctx context.Context) error { return r.cni.DelNetworkList(ctx, r.list, r.conf()) })
}

// gc keeps the attachments.
func (r *libRuntime) gc(keep ...*attachment) error {
	valid := []types.GCAttachment{}
	for _, a := range keep {
		valid = append(valid, types.GCAttachment{ContainerID: a.id, IfName: a.ifname})
	}
	return r.within(func(ctx context.Context) error {
		return r.cni.GCNetworkList(ctx, r.list, &libcni.GCArgs{ValidAttachments: valid})
	})
}

func (r *libRuntime) validate() error {
	return r.within(func(ctx context.Context) error {
		_, err := r.cni.ValidateNetworkList(ctx, r.list)
		return err
	})
}

// did demands that libcni had no error.
func (p *probe) did(what string, err error) bool {
	if err == nil {
		return true
	}
	p.failf("%s through libcni: failed", what)
	p.seen = append(p.seen, p.normal(what+": "+err.Error()))
	return false
}
