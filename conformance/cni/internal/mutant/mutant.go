// Package mutant is a CNI plugin that makes no network and keeps every line of
// the specification, except the one that it is told to break: with a fault in its
// environment it shows that the check made for that fault is not blind.
//
// It keeps its state in files below the directory in MUTANT_DIR. A daemon that
// connectivity would depend on is played by files there too; executed with the
// argument "drift", the program is the hook that breaks these things.
package mutant

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Environment of the plugin.
const (
	DirEnv   = "MUTANT_DIR"
	FaultEnv = "MUTANT_FAULT"
)

// Type is the plugin's name.
const Type = "mutant"

const newest = "1.1.0"

// fault reports whether the fault is the one to show.
func fault(name string) bool { return os.Getenv(FaultEnv) == name }

// A fail is an error with a code.
type fail struct {
	CNIVersion string `json:"cniVersion,omitempty"`
	Code       int    `json:"code"`
	Msg        string `json:"msg"`
	Details    string `json:"details,omitempty"`
}

func (f *fail) Error() string { return f.Msg }

func failf(code int, format string, args ...any) error {
	return &fail{Code: code, Msg: fmt.Sprintf(format, args...)}
}

// Main is the program. It returns the exit code.
func Main() int {
	if len(os.Args) > 1 {
		return otherRole(os.Args[1])
	}
	e := readEnv()
	switch {
	case e.command == "" && fault("E02"):
		fmt.Println("mutant: a CNI plugin")
		return 0
	case e.command == "":
		fmt.Fprintln(os.Stderr, "mutant: a CNI plugin")
		return 0
	}
	if _, err := fmt.Fprintf(os.Stderr, "mutant: %s\n", e.command); err != nil && fault("O08") {
		return 1
	}
	spoken := newest
	out, err := dispatch(e, &spoken)
	if err != nil {
		return tell(err, spoken)
	}
	return succeed(e, out)
}

// succeed prints what the verb has to say.
func succeed(e env, out any) int {
	if fault("O02") && e.command == "ADD" {
		fmt.Println("mutant: added")
	}
	if fault("O03") && e.command == "DEL" || fault("G07") && e.command == "GC" {
		fmt.Println("{}")
	}
	if out != nil {
		raw, err := json.Marshal(out)
		if err != nil {
			return tell(err, newest)
		}
		fmt.Println(string(raw))
		if fault("O02-two") && e.command == "ADD" {
			fmt.Println(string(raw))
		}
	}
	if fault("E15-two") && e.command == "ADD" && e.netns == "/proc/self/ns/net" {
		return tell(failf(7, "CNI_NETNS is my own"), newest)
	}
	return 0
}

// tell prints an error.
func tell(err error, spoken string) int {
	f := &fail{Code: 100, Msg: err.Error()}
	errors.As(err, &f)
	if !fault("O05") {
		f.CNIVersion = spoken
	}
	switch {
	case fault("O09") || fault("O04-stderr"):
		fmt.Fprintln(os.Stderr, f.Msg)
		return 1
	case fault("O04"):
		fmt.Printf("{\"cniVersion\":%q,\"code\":\"%d\",\"msg\":%q}\n", f.CNIVersion, f.Code, f.Msg)
		return 1
	}
	raw, _ := json.Marshal(f) // a struct of texts and a number
	fmt.Println(string(raw))
	if fault("O01") {
		return 0
	}
	return 1
}

// env is what the variables say.
type env struct{ command, id, netns, ifname, args, path string }

func readEnv() env {
	return env{os.Getenv("CNI_COMMAND"), os.Getenv("CNI_CONTAINERID"), os.Getenv("CNI_NETNS"),
		os.Getenv("CNI_IFNAME"), os.Getenv("CNI_ARGS"), os.Getenv("CNI_PATH")}
}

// check returns what is wrong with the variables that the verb needs.
func (e *env) check() error {
	attach := e.command == "ADD" || e.command == "CHECK" || e.command == "DEL"
	need := map[string]bool{
		"CNI_CONTAINERID": attach || fault("E05") && e.command == "STATUS",
		"CNI_NETNS":       e.command == "ADD" || e.command == "CHECK" || fault("E04") && e.command == "DEL",
		"CNI_IFNAME":      attach,
		"CNI_PATH":        e.command == "GC" || fault("E06"),
	}
	var bad []string
	for _, v := range []struct{ name, value string }{
		{"CNI_CONTAINERID", e.id}, {"CNI_NETNS", e.netns}, {"CNI_IFNAME", e.ifname}, {"CNI_PATH", e.path},
	} {
		if need[v.name] && v.value == "" {
			bad = append(bad, v.name+" is missing")
		}
	}
	if len(bad) > 1 && fault("E03") {
		bad = bad[:1]
	}
	if len(bad) > 0 {
		return failf(4, "%s", strings.Join(bad, ", "))
	}
	if attach && !goodName(e.id) && !fault("E07") {
		return e.badValue("CNI_CONTAINERID")
	}
	if attach && !goodIfName(e.ifname) {
		if fault("E09") {
			e.ifname = "eth0"
			return nil
		}
		return e.badValue("CNI_IFNAME")
	}
	return nil
}

func (e *env) badValue(name string) error {
	if fault("E08") {
		name = "a variable"
	}
	return failf(4, "%s has a bad value", name)
}

func goodName(s string) bool {
	return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`).MatchString(s)
}

func goodIfName(s string) bool {
	return len(s) <= 15 && s != "." && s != ".." && !strings.ContainsAny(s, "/: \t\n")
}

// verbs and the first version of the specification that has them.
func verbs() map[string]verb {
	return map[string]verb{
		"ADD": {"0.3.0", add}, "DEL": {"0.3.0", del}, "CHECK": {"0.4.0", check}, "STATUS": {"1.1.0", status}, "GC": {"1.1.0", gc},
	}
}

type verb struct {
	since string
	do    func(*call) (any, error)
}

// dispatch runs the verb. spoken becomes the version of the input.
func dispatch(e env, spoken *string) (any, error) {
	if e.command == "VERSION" {
		return versions()
	}
	v, ok := verbs()[e.command]
	if !ok {
		if fault("E01") {
			return nil, nil
		}
		return nil, failf(4, "CNI_COMMAND %s is unknown", e.command)
	}
	if err := e.check(); err != nil {
		return nil, err
	}
	if fault("E14") && os.Getenv("TRACEPARENT") != "" {
		return nil, failf(4, "TRACEPARENT is not a CNI variable")
	}
	if fault("E15") && e.netns != "" {
		if f, err := os.Open(e.netns); err == nil {
			_ = f.Close()
		}
	}
	c, err := readCall(e, v, spoken)
	if err != nil {
		return nil, err
	}
	if err := c.daemon(); err != nil {
		return nil, err
	}
	return v.do(c)
}

// supported are the versions that VERSION lists.
func supported() []string {
	list := []string{"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"}
	if fault("V04") {
		list = slices.Insert(list, 0, "0.2.0")
	}
	if fault("V05") {
		list = append(list, "v1.1.0")
	}
	return list
}

func versions() (any, error) {
	raw, err := readStdin()
	said := struct {
		CNIVersion string `json:"cniVersion"`
	}{}
	if (err != nil || json.Unmarshal(raw, &said) != nil) && fault("V03") {
		return nil, failf(6, "stdin is no JSON object")
	}
	if said.CNIVersion == "" || fault("V02") {
		said.CNIVersion = newest
	}
	if fault("V01") {
		return map[string]any{"cniVersion": said.CNIVersion}, nil
	}
	return map[string]any{"cniVersion": said.CNIVersion, "supportedVersions": supported()}, nil
}

// daemon plays what happens to a verb when the daemon is not well.
func (c *call) daemon() error {
	state, _ := os.ReadFile(c.file("daemon"))
	switch {
	case len(state) == 0:
	case string(state) == "hung" && fault("D10-hang") && c.command == "DEL":
		time.Sleep(time.Hour)
	case c.command == "STATUS" && fault("T01-code"):
		return failf(7, "the daemon is %s", state)
	case c.command == "STATUS" && !fault("T01"):
		return failf(51, "the daemon is %s", state)
	case c.command == "CHECK" && !fault("C05"), c.command == "DEL" && string(state) == "hung", c.command == "ADD":
		return failf(11, "the daemon is %s", state)
	case c.command == "DEL" && fault("D10"):
		return failf(11, "the daemon is %s", state)
	}
	return nil
}
