package mutant

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// delegates returns the IPAM plugin's type, or "".
func (c *call) delegates() string {
	if t := c.conf.IPAM.Type; t != "none" {
		return t
	}
	return ""
}

// delegate executes the IPAM plugin with command and returns its stdout.
func (c *call) delegate(command string) ([]byte, error) {
	path, err := c.find(c.delegates())
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path)
	cmd.Env = c.delegateEnv(command)
	cmd.Stdin = bytes.NewReader(c.delegateStdin())
	var out bytes.Buffer
	cmd.Stdout = &out
	if !fault("J04") {
		cmd.Stderr = os.Stderr
	}
	if err := cmd.Run(); err != nil {
		var f fail
		var ee *exec.ExitError
		if errors.As(err, &ee) && json.Unmarshal(out.Bytes(), &f) == nil && f.Code != 0 {
			if fault("J08") {
				f.Code = 100
			}
			return nil, &f
		}
		return nil, failf(100, "execute %s: %v", path, err)
	}
	return out.Bytes(), nil
}

func (c *call) find(typ string) (string, error) {
	dirs := filepath.SplitList(c.path)
	switch {
	case strings.ContainsRune(typ, os.PathSeparator) && fault("J01"):
		if filepath.IsAbs(typ) {
			return typ, nil
		}
	case strings.ContainsRune(typ, os.PathSeparator):
		return "", failf(7, "ipam.type %q has a separator", typ)
	case fault("J01-path"):
		dirs = append(dirs, filepath.SplitList(os.Getenv("PATH"))...)
	}
	for _, dir := range dirs {
		path := filepath.Join(dir, typ)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path, nil
		}
	}
	return "", failf(7, "ipam.type %q is nowhere in CNI_PATH", typ)
}

func (c *call) delegateEnv(command string) []string {
	var env []string
	for _, kv := range os.Environ() {
		k, _, _ := strings.Cut(kv, "=")
		if k == "CNI_COMMAND" || k == "CNI_ARGS" && fault("J02") || k == "CONFORMANCE" && fault("J02-other") {
			continue
		}
		env = append(env, kv)
	}
	return append(env, "CNI_COMMAND="+command)
}

func (c *call) delegateStdin() []byte {
	if !fault("J03") {
		return c.raw
	}
	raw, _ := json.Marshal(map[string]any{"cniVersion": c.version, "name": c.conf.Name, "ipam": c.top["ipam"]})
	return raw
}

// An ipamResult is the abbreviated result of an IPAM plugin.
type ipamResult struct {
	IPs    []map[string]any `json:"ips"`
	Routes []map[string]any `json:"routes"`
	DNS    dns              `json:"dns"`
}

// delegateAdd gets addresses from the IPAM plugin, and executes it with DEL when
// they are none.
func (c *call) delegateAdd() (ipamResult, error) {
	var res ipamResult
	out, err := c.delegate("ADD")
	if err == nil && json.Unmarshal(out, &res) != nil {
		err = failf(6, "the IPAM plugin's result is no JSON")
	}
	for _, ip := range res.IPs {
		if s, _ := ip["address"].(string); !strings.Contains(s, "/") {
			err = failf(6, "the IPAM plugin's address is none")
		}
	}
	none := err == nil && len(res.IPs) == 0 && !fault("J06")
	if none {
		err = failf(7, "the IPAM plugin gives no address")
	}
	undo := err != nil && !fault("A11")
	if none && fault("J06-del") {
		undo = false
	}
	if undo {
		_, _ = c.delegate("DEL") // the error is the ADD's
	}
	return res, err
}
