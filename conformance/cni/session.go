package cni

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// marker is set in the environment of everything that a session executes, so
// that processes which stay can be found.
const marker = "CNI_CONFORMANCE_RUN"

// A session judges one target. Checks run one after the other in it.
type session struct {
	ctx    context.Context
	target Target
	token  string // in every name that the session gives
	work   string // scratch directory
	bin    string // directory in CNI_PATH in which the plugin is found by its type
	confs  []object
	double string // the doubles' program; "" until needed
	count  atomic.Int64

	base     inventory    // what is left when no attachment is there
	warm     map[int]bool // networks that had an attachment
	versions []string     // what the plugin says it speaks
	domains  domains

	traits // what was found out about the plugin, once
}

// newSession prepares a session; close it.
func newSession(ctx context.Context, t Target) (*session, error) {
	t, err := t.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &session{ctx: ctx, target: t, token: token(), warm: map[int]bool{}}
	for n := range 4 {
		c, err := pickConfig(t.Config, filepath.Base(t.Plugin), n)
		if err != nil {
			return nil, err
		}
		s.confs = append(s.confs, c)
	}
	if s.work, err = os.MkdirTemp("", "cni-conformance-"); err != nil {
		return nil, err
	}
	if s.domains, err = newDomains(&t, s.work); err != nil {
		return nil, errors.Join(err, s.close())
	}
	if err := s.findPlugin(); err != nil {
		return nil, errors.Join(err, s.close())
	}
	s.versions = s.askVersions()
	return s, nil
}

func token() string {
	b := make([]byte, 4)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return "cf" + hex.EncodeToString(b)
}

// findPlugin sets bin. Runtimes look plugins up by type; where the binary has
// another name, a link has the right one.
func (s *session) findPlugin() error {
	typ, _ := s.confs[0]["type"].(string)
	if filepath.Base(s.target.Plugin) == typ {
		s.bin = filepath.Dir(s.target.Plugin)
		return nil
	}
	s.bin = filepath.Join(s.work, "bin")
	if err := os.Mkdir(s.bin, 0o755); err != nil {
		return err
	}
	return os.Symlink(s.target.Plugin, filepath.Join(s.bin, typ))
}

// close removes the scratch directory.
func (s *session) close() error { return os.RemoveAll(s.work) }

// askVersions returns what VERSION lists, or, when it lists nothing, the
// configuration's version.
func (s *session) askVersions() []string {
	o := s.call(call{command: "VERSION", stdin: encode(object{"cniVersion": s.version()})})
	var said struct {
		Supported []string `json:"supportedVersions"`
	}
	if json.Unmarshal(o.stdout, &said) != nil || len(said.Supported) == 0 {
		return []string{s.version()}
	}
	return said.Supported
}

// version is the configuration's cniVersion.
func (s *session) version() string { return s.confs[0]["cniVersion"].(string) }

// atLeast returns the newest version that the plugin speaks and the suite knows,
// if that is not older than v: for verbs that are newer than the configuration.
func (s *session) atLeast(v string) (string, bool) {
	if known := knownVersions(); slices.Index(known, s.version()) >= slices.Index(known, v) {
		return s.version(), true
	}
	for _, k := range slices.Backward(knownVersions()) {
		if slices.Contains(s.versions, k) {
			return k, slices.Index(knownVersions(), k) >= slices.Index(knownVersions(), v)
		}
	}
	return "", false
}

// knownVersions are the released versions of the specification, oldest first.
func knownVersions() []string {
	return []string{"0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"}
}

// since reports whether version v is w or newer.
func since(v, w string) bool {
	known := knownVersions()
	return slices.Index(known, v) >= slices.Index(known, w)
}

// conf returns a copy of the configuration of network n with mods applied.
func (s *session) conf(n int, mods ...mod) object {
	c := clone(s.confs[n]).(object)
	for _, m := range mods {
		m(c)
	}
	return c
}

// name returns a name that nobody else uses.
func (s *session) name() string { return fmt.Sprintf("%s-%d", s.token, s.count.Add(1)) }

// environ is the environment of everything that is executed: this process's
// without CNI variables, the target's and the marker.
func (s *session) environ() []string {
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "CNI_") })
	return append(append(env, s.target.Env...), marker+"="+s.token)
}

// call executes the plugin.
func (s *session) call(c call) *outcome {
	env := s.environ()
	for k, v := range c.vars {
		if !slices.Contains(c.unset, k) {
			env = append(env, k+"="+v)
		}
	}
	if !slices.Contains(c.unset, "CNI_COMMAND") {
		env = append(env, "CNI_COMMAND="+c.command)
	}
	if c.limit == 0 {
		c.limit = s.target.Timeout
	}
	return execute(s.ctx, s.program(), c, append(env, c.env...))
}

// program is the plugin as it is found in CNI_PATH.
func (s *session) program() string { return filepath.Join(s.bin, s.confs[0]["type"].(string)) }

// path is CNI_PATH with dirs in front.
func (s *session) path(dirs ...string) string {
	return strings.Join(slices.Concat(dirs, []string{s.bin}, s.target.Path), string(os.PathListSeparator))
}

// poll calls done until it is true or the limit is over, and returns its last
// answer. It asks ten times at least: a machine that stands still for as long as the
// limit is not the plugin's fault.
func poll(limit time.Duration, done func() bool) bool {
	end := time.Now().Add(limit)
	for n := 1; ; n++ {
		if done() {
			return true
		}
		if n >= 10 && time.Now().After(end) {
			return false
		}
		time.Sleep(20 * time.Millisecond)
	}
}
