package main

import (
	"bytes"
	_ "embed" // for schema
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// schema is the JSON schema of a plugin's configuration, which a test keeps equal
// to the parser.
//
//go:embed schema.json
var schema string

const usage = `usage: vmnet validate FILE…   check network configurations (.conflist, .conf, .json; - is stdin)
       vmnet schema           print the JSON schema of the plugin's configuration
       vmnet version          print the version
Runtimes set CNI_COMMAND instead.
`

// Exit codes of commands: all is well, a file is wrong, a file cannot be read or
// the command line is wrong.
const (
	exitGood = iota
	exitBad
	exitUsage
)

// command runs what the arguments say, for people.
func command(args []string, getenv func(string) string, stdin io.Reader, stdout, stderr io.Writer) int {
	switch {
	case len(args) == 1 && args[0] == "schema":
		fmt.Fprint(stdout, schema)
		return exitGood
	case len(args) == 1 && args[0] == "version":
		fmt.Fprintln(stdout, "vmnet", version)
		return exitGood
	case len(args) < 2 || args[0] != "validate":
		fmt.Fprint(stderr, usage)
		return exitUsage
	}
	exit := exitGood
	for _, name := range args[1:] {
		data, err := readFile(name, stdin)
		if err != nil {
			fmt.Fprintf(stderr, "vmnet: %v\n", err)
			exit = exitUsage
			continue
		}
		f := checkFile(data, getenv("CNI_PATH"))
		for _, err := range f.errs {
			fmt.Fprintf(stdout, "%s: %v\n", name, err)
		}
		if len(f.errs) > 0 {
			exit = max(exit, exitBad)
			continue
		}
		fmt.Fprintf(stdout, "%s: good: network %s, cniVersion %s\n", name, f.name, f.version)
	}
	return exit
}

func readFile(name string, stdin io.Reader) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(io.LimitReader(stdin, maxStdin))
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxStdin))
}

// A file is a network configuration as an operator writes it: a list of plugins,
// or a single one.
type file struct {
	name, version string
	cniPath       string
	errs          problems
}

// checkFile looks at a file as libcni and this plugin do. Plugins of other types
// are theirs to judge.
func checkFile(data []byte, cniPath string) *file {
	f := &file{cniPath: cniPath}
	var top map[string]json.RawMessage
	if err := json.Unmarshal(data, &top); err != nil || top == nil {
		f.errs.add(jsonError(data, err))
		return f
	}
	o := &object{keys: maps.Clone(top)}
	f.checkName(o)
	f.checkVersions(o)
	f.errs.add(o.errs.err())
	if _, isList := top["plugins"]; !isList {
		f.checkPlugin("", top, true)
		return f
	}
	f.checkList(o)
	return f
}

func (f *file) checkName(o *object) {
	if !o.take("name", &f.name, "a string") {
		if len(o.errs) == 0 {
			o.fail(errorf(codeConfig, "name is missing: want the network's name"))
		}
	} else if err := shim.CheckNetwork(f.name); err != nil {
		o.fail(errorf(codeConfig, "name: %w", err))
	}
}

// checkVersions takes the newest version that is supported, as libcni does.
func (f *file) checkVersions(o *object) {
	var list []string
	o.take("cniVersions", &list, "a list of strings")
	if o.take("cniVersion", &f.version, "a string") {
		list = append(list, f.version)
	}
	if len(list) == 0 {
		o.fail(errorf(codeVersion, "cniVersion is missing, which means 0.1.0: want one of %s", strings.Join(supported, ", ")))
		return
	}
	f.version = ""
	for _, v := range supported {
		if slices.Contains(list, v) {
			f.version = v
		}
	}
	if f.version == "" {
		o.fail(badValue("cniVersion", strings.Join(list, ", "), "one of %s", strings.Join(supported, ", ")))
	}
}

// checkList checks the keys of a conflist, and its plugins of this type.
func (f *file) checkList(o *object) {
	o.errs = nil
	var plugins []map[string]json.RawMessage
	for _, key := range []string{"disableCheck", "disableGC", "loadOnlyInlinedPlugins"} {
		raw := o.raw(key)
		switch string(raw) {
		case "", "null", "true", "false", `"true"`, `"false"`: // libcni takes the texts as well
		default:
			o.fail(badValue(key, raw, "true or false"))
		}
	}
	o.take("plugins", &plugins, "a list of objects")
	if len(plugins) == 0 && len(o.errs) == 0 {
		o.fail(errorf(codeConfig, "plugins []: want at least one"))
	}
	f.errs.add(o.end())
	ours := 0
	for i, p := range plugins {
		at := fmt.Sprintf("plugins[%d]: ", i)
		var typ string
		if err := json.Unmarshal(p["type"], &typ); err != nil || typ == "" {
			f.errs.add(fmt.Errorf("%stype is missing: want the name of a plugin", at))
		}
		if typ == pluginType() {
			ours++
			f.checkPlugin(at, p, false)
		}
	}
	if ours == 0 && len(plugins) > 0 {
		f.errs.add(fmt.Errorf("plugins: none has type %q: nothing to check", pluginType()))
	}
}

// pluginType is the name under which runtimes find this program.
func pluginType() string {
	if exe, err := os.Executable(); err == nil && !strings.HasSuffix(exe, ".test") {
		return filepath.Base(exe)
	}
	return "vmnet"
}

// checkPlugin checks a configuration of this plugin with the parser of ADD, and
// what only a runtime may write.
func (f *file) checkPlugin(at string, p map[string]json.RawMessage, single bool) {
	p = maps.Clone(p)
	for _, key := range slices.Sorted(maps.Keys(p)) {
		switch {
		case key == "runtimeConfig", key == "prevResult", strings.HasPrefix(key, "cni.dev/"):
			f.errs.add(fmt.Errorf("%s%s %s: want no such key: runtimes write it", at, key, show(p[key])))
			delete(p, key)
		case !single && (key == "name" || key == "cniVersion"):
			f.errs.add(fmt.Errorf("%s%s %s: want it in the list, not in a plugin", at, key, show(p[key])))
		}
	}
	if single {
		delete(p, "cniVersions")
	}
	p["name"] = json.RawMessage(`"n"`) // its own problems were told
	f.checkCapabilities(at, p["capabilities"])
	c, err := parseConfig(p, f.version, true)
	var all problems
	all.add(err)
	for _, err := range all {
		f.errs.add(fmt.Errorf("%s%w", at, err))
	}
	if c != nil && c.Delegate != "" && f.cniPath != "" {
		if _, err := findDelegate("ipam.type", c.Delegate, f.cniPath); err != nil {
			f.errs.add(fmt.Errorf("%s%w", at, err))
		}
	}
}

// capabilities are those that a runtime may be told of.
var capabilities = []string{"aliases", "bandwidth", "dns", "ipRanges", "ips", "mac", "portMappings",
	"cgroupPath", "CNIDeviceInfoFile", "io.kubernetes.cri.pod-annotations"}

func (f *file) checkCapabilities(at string, raw json.RawMessage) {
	var list map[string]bool
	if json.Unmarshal(raw, &list) != nil {
		return // the parser tells
	}
	for _, name := range slices.Sorted(maps.Keys(list)) {
		if list[name] && !slices.Contains(capabilities, name) {
			f.errs.add(fmt.Errorf("%scapabilities.%s true: want one of %s", at, name, strings.Join(capabilities, ", ")))
		}
	}
}

// jsonError says where JSON goes wrong.
func jsonError(data []byte, err error) error {
	var syntax *json.SyntaxError
	if !errors.As(err, &syntax) {
		return errorf(codeDecode, "want one JSON object")
	}
	before := data[:min(int(syntax.Offset), len(data))]
	line, column := 1+bytes.Count(before, []byte("\n")), len(before)-bytes.LastIndexByte(before, '\n')-1
	return errorf(codeDecode, "line %d, column %d: %w", line, max(column, 1), err)
}
