// Package double has the programs that stand in for other plugins while one is
// judged: an IPAM plugin and a neighbour in a chain. Both write down what they
// are executed with, and answer as they are told. Which of the two a process is,
// its name says; what it shall do and where it writes, the directory that its
// executable is in.
package double

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Names of the programs: the type of the plugin in a configuration.
const (
	IPAM      = "conformance-ipam"
	Neighbour = "conformance-neighbour"
)

// A Behaviour is what a double does when it is executed with one verb. The zero
// value is a success.
type Behaviour struct {
	// Code and Msg make it fail with this error.
	Code int    `json:"code,omitempty"`
	Msg  string `json:"msg,omitempty"`
	// Stderr is written to stderr.
	Stderr string `json:"stderr,omitempty"`
	// Result is what ADD prints. cniVersion is filled in. Where it is empty,
	// ADD prints the prevResult, or an empty result.
	Result map[string]any `json:"result,omitempty"`
	// Append is added to the lists of the result, and replaces its other keys.
	Append map[string]any `json:"append,omitempty"`
}

// A Record is one execution.
type Record struct {
	Command string            `json:"command"`
	Env     map[string]string `json:"env"`
	Stdin   json.RawMessage   `json:"stdin"`
	Path    string            `json:"path"`
}

// Files of a double with a name, in its directory.
const (
	controlSuffix = ".control.json"
	recordSuffix  = ".calls.jsonl"
)

// Control sets what the double of that name in dir does, by verb.
func Control(dir, name string, verbs map[string]Behaviour) error {
	raw, err := json.Marshal(verbs)
	if err != nil {
		return err
	}
	tmp := filepath.Join(dir, name+".tmp")
	if err := os.WriteFile(tmp, raw, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(dir, name+controlSuffix))
}

// Records returns the executions of the double of that name in dir, in order.
func Records(dir, name string) ([]Record, error) {
	raw, err := os.ReadFile(filepath.Join(dir, name+recordSuffix))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []Record
	for line := range strings.Lines(string(raw)) {
		var r Record
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			return nil, fmt.Errorf("record of %s: %w", name, err)
		}
		all = append(all, r)
	}
	return all, nil
}

// Main answers as a double when the process was executed under a double's name,
// and then tells the exit code.
func Main() (code int, isDouble bool) {
	name := filepath.Base(os.Args[0])
	if name != IPAM && name != Neighbour {
		return 0, false
	}
	exe, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, "double:", err)
		return 1, true
	}
	if err := play(filepath.Dir(exe), name); err != nil {
		fmt.Fprintln(os.Stderr, "double:", err)
		return 1, true
	}
	return exitCode(filepath.Dir(exe), name), true
}

// play writes the record and prints the answer.
func play(dir, name string) error {
	stdin, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	rec := Record{Command: os.Getenv("CNI_COMMAND"), Env: environ(), Path: os.Args[0]}
	var conf map[string]any
	if json.Unmarshal(stdin, &conf) == nil {
		rec.Stdin = stdin
	} else if rec.Stdin, err = json.Marshal(string(stdin)); err != nil {
		return err
	}
	if err := record(dir, name, rec); err != nil {
		return err
	}
	return answer(os.Stdout, behaviour(dir, name), name, rec.Command, conf)
}

// record appends one line in one write, so that doubles at work at the same time
// do not mix theirs (write(2), O_APPEND).
func record(dir, name string, rec Record) error {
	line, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, name+recordSuffix), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}

func environ() map[string]string {
	m := map[string]string{}
	for _, kv := range os.Environ() {
		k, v, _ := strings.Cut(kv, "=")
		m[k] = v
	}
	return m
}

// behaviour returns what is controlled for the verb at hand. What cannot be read
// is not controlled.
func behaviour(dir, name string) Behaviour {
	raw, err := os.ReadFile(filepath.Join(dir, name+controlSuffix))
	if err != nil {
		return Behaviour{}
	}
	var verbs map[string]Behaviour
	_ = json.Unmarshal(raw, &verbs)
	return verbs[os.Getenv("CNI_COMMAND")]
}

func exitCode(dir, name string) int {
	if behaviour(dir, name).Code != 0 {
		return 1
	}
	return 0
}

func answer(w io.Writer, b Behaviour, name, command string, conf map[string]any) error {
	if b.Stderr != "" {
		fmt.Fprint(os.Stderr, b.Stderr)
	}
	version, _ := conf["cniVersion"].(string)
	if version == "" {
		version = "1.1.0"
	}
	var doc map[string]any
	switch {
	case b.Code != 0:
		doc = map[string]any{"cniVersion": version, "code": b.Code, "msg": b.Msg}
	case command == "VERSION":
		doc = map[string]any{"cniVersion": version, "supportedVersions": []string{"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"}}
	case command == "ADD":
		doc = result(b, name, conf)
		doc["cniVersion"] = version
		if version < "1.0.0" {
			oldIPs(doc)
		}
	default:
		return nil
	}
	return json.NewEncoder(w).Encode(doc)
}

// result makes what ADD prints.
func result(b Behaviour, name string, conf map[string]any) map[string]any {
	doc := b.Result
	if doc == nil {
		doc = map[string]any{}
		if prev, ok := conf["prevResult"].(map[string]any); ok && name == Neighbour {
			doc = prev
		}
	}
	for k, v := range b.Append {
		old, isList := doc[k].([]any)
		more, ok := v.([]any)
		if isList && ok {
			doc[k] = append(old, more...)
		} else {
			doc[k] = v
		}
	}
	return doc
}

// oldIPs adds the key that ips have before 1.0.0.
func oldIPs(doc map[string]any) {
	ips, _ := doc["ips"].([]any)
	for _, e := range ips {
		ip, _ := e.(map[string]any)
		address, _ := ip["address"].(string)
		if ip == nil || ip["version"] != nil {
			continue
		}
		ip["version"] = "4"
		if strings.Contains(address, ":") {
			ip["version"] = "6"
		}
	}
}
