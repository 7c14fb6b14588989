package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// An env is what the CNI_ variables say. CNI_PATH is not in it: only those who look for
// a delegate need it.
type env struct {
	Command     string
	ContainerID string
	NetNS       string // opaque: a path, a socket or any text
	IfName      string
	Args        string
}

// need says which variables a verb must have.
type need struct{ id, netns, ifname bool }

// readEnv checks all variables that the verb needs and names every one that is
// wrong in one error with code 4, as the specification's table of codes says.
func readEnv(getenv func(string) string, want need) (env, error) {
	e := env{Command: getenv("CNI_COMMAND"), Args: getenv("CNI_ARGS"), NetNS: getenv("CNI_NETNS")}
	var bad []string
	if want.id {
		e.ContainerID = getenv("CNI_CONTAINERID")
		bad = append(bad, problem("CNI_CONTAINERID", e.ContainerID, shim.CheckContainerID)...)
	}
	if want.netns {
		bad = append(bad, problem("CNI_NETNS", e.NetNS, checkNetNS)...)
	}
	if want.ifname {
		e.IfName = getenv("CNI_IFNAME")
		bad = append(bad, problem("CNI_IFNAME", e.IfName, shim.CheckIfName)...)
	}
	if len(bad) > 0 {
		return e, errorf(codeEnv, "environment: %s", strings.Join(bad, "; "))
	}
	return e, nil
}

// problem returns what is wrong with a variable, or nothing.
func problem(name, value string, check func(string) error) []string {
	if value == "" {
		return []string{name + " is missing"}
	}
	if err := check(value); err != nil {
		// The shim names the same thing by its own key.
		var se *shim.Error
		if errors.As(err, &se) {
			return []string{name + strings.TrimPrefix(se.Message, se.Key)}
		}
		return []string{name + " " + err.Error()}
	}
	return nil
}

// checkNetNS bounds what is stored; a path has at most 4096 bytes (PATH_MAX).
func checkNetNS(s string) error {
	if len(s) > 4096 {
		return fmt.Errorf("%.32q…: %d bytes, want at most 4096", s, len(s))
	}
	if strings.ContainsRune(s, 0) {
		return fmt.Errorf("%.32q: want no zero byte", s)
	}
	return nil
}
