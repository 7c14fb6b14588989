package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	cniversion "github.com/containernetworking/cni/pkg/version"

	"github.com/vmnet-cni/vmnet/internal/plainjson"
)

// supported are the versions of the specification that this plugin speaks:
// below 0.3.0 a result has no interfaces and must have an address.
var supported = []string{"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"}

// newest is the version of answers to input that names none.
const newest = "1.1.0"

// maxStdin bounds the configuration in bytes; a GC of 100000 containers has 12
// MiB.
const maxStdin = 16 << 20

// undoTimeout bounds taking back what a failed verb did.
const undoTimeout = 5 * time.Second

// A verb is one value of CNI_COMMAND.
type verb struct {
	need  need
	since string // the first version of the specification that has it
	// strict: the configuration must be right in every part. DEL and GC need
	// only what leads to the shim: what was made before a mistake came into
	// the configuration must still go.
	strict bool
	do     func(*call) (output, error)
}

// output is what a verb that succeeds prints, and how to take back what it did
// when that cannot be printed.
type output struct {
	doc  []byte // nil: nothing
	undo func()
}

var verbs = map[string]verb{
	"ADD":    {need{id: true, netns: true, ifname: true}, "0.3.0", true, add},
	"DEL":    {need{id: true, ifname: true}, "0.3.0", false, del},
	"CHECK":  {need{id: true, netns: true, ifname: true}, "0.4.0", true, check},
	"STATUS": {need{}, "1.1.0", true, status},
	"GC":     {need{}, "1.1.0", false, gc},
}

// A call is one run of a verb.
type call struct {
	ctx     context.Context // ends with the configuration's shim.timeout
	env     env
	conf    *config
	environ []string // of the process
	stdin   []byte   // all of it
	log     *verbLog
	guarded func() // returns as soon as a signal no longer ends the process
}

// getenv returns a variable of environ; the first one counts, as in package os.
func (c *call) getenv(name string) string {
	for _, kv := range c.environ {
		if key, value, ok := strings.Cut(kv, "="); ok && key == name {
			return value
		}
	}
	return ""
}

// run runs the verb that environ names, with its surroundings as arguments. It
// returns the exit code.
func (c *call) run(stdin io.Reader, stdout, stderr io.Writer) int {
	command := c.getenv("CNI_COMMAND")
	if command == "" {
		fmt.Fprintf(stderr, "vmnet %s: CNI plugin for virtual machines; CNI versions %s. Runtimes set CNI_COMMAND.\n",
			version, strings.Join(supported, ", "))
		return 0
	}
	c.log = newVerbLog(command, stderr)
	out, spoken, err := dispatch(c, command, stdin)
	if err == nil && out.doc != nil {
		if _, werr := stdout.Write(append(out.doc, '\n')); werr != nil {
			err = errorf(codeIO, "write result: %w", werr)
			if out.undo != nil {
				out.undo()
			}
		}
	}
	c.log.end(err)
	if err == nil {
		return 0
	}
	ce := *asCNIError(err)
	ce.CNIVersion = spoken
	doc, merr := json.Marshal(ce)
	if merr != nil { // strings and a number: cannot happen
		doc = []byte(`{"cniVersion":"1.1.0","code":999,"msg":"encode error"}`)
	}
	if _, werr := stdout.Write(append(doc, '\n')); werr != nil {
		fmt.Fprintf(stderr, "vmnet: write error: %v\n", werr)
	}
	return 1
}

// dispatch runs the verb. spoken is the version for the answer: that of the
// input as soon as it is known.
func dispatch(c *call, command string, stdin io.Reader) (out output, spoken string, err error) {
	spoken = newest
	defer func() {
		if p := recover(); p != nil {
			e := errorf(codeInternal, "%s: panic: %v", command, p)
			e.Details = string(debug.Stack())
			err = e
		}
	}()
	if command == "VERSION" {
		out.doc, err = versions(stdin)
		return out, spoken, err
	}
	v, ok := verbs[command]
	if !ok {
		return out, spoken, errorf(codeEnv, "environment: CNI_COMMAND %q: want ADD, DEL, CHECK, STATUS, GC or VERSION", command)
	}
	if c.env, err = readEnv(c.getenv, v.need); err != nil {
		return out, spoken, err
	}
	raw, err := readStdin(stdin)
	if err != nil {
		return out, spoken, err
	}
	c.stdin = raw
	top, said, err := readHead(raw)
	if said != "" {
		spoken = said
	}
	if err != nil {
		return out, spoken, err
	}
	if err := checkVersion(command, v, said); err != nil {
		return out, spoken, err
	}
	if c.conf, err = parseConfig(top, said, v.strict); err != nil {
		return out, spoken, err
	}
	if err := c.log.open(c.conf, c.env); err != nil && v.strict {
		return out, spoken, err
	}
	ctx, cancel := context.WithTimeout(c.ctx, c.conf.Shim.Timeout)
	defer cancel()
	c.ctx = ctx
	out, err = v.do(c)
	return out, spoken, err
}

func readStdin(stdin io.Reader) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(stdin, maxStdin+1))
	if err != nil {
		return nil, errorf(codeIO, "read network configuration from stdin: %w", err)
	}
	if len(raw) > maxStdin {
		return nil, errorf(codeDecode, "network configuration: more than %d bytes", maxStdin)
	}
	return raw, nil
}

// readHead decodes the outer object and the version, which every other error
// repeats.
func readHead(raw []byte) (top map[string]json.RawMessage, said string, err error) {
	if top = members(raw); top != nil {
		return headOf(top)
	}
	if err := json.Unmarshal(raw, &top); err != nil {
		return nil, "", errorf(codeDecode, "network configuration: want one JSON object: %w", err)
	}
	if top == nil {
		return nil, "", errorf(codeDecode, "network configuration: want one JSON object, not null")
	}
	return headOf(top)
}

// headOf returns top and the version that it names, if any.
func headOf(top map[string]json.RawMessage) (_ map[string]json.RawMessage, said string, err error) {
	v, ok := top["cniVersion"]
	if !ok {
		return top, "", nil
	}
	if plainjson.Value(v).Text(&said) {
		return top, said, nil
	}
	if err := json.Unmarshal(v, &said); err != nil {
		return nil, "", errorf(codeDecode, "cniVersion %s: want a string", show(v))
	}
	return top, said, nil
}

// checkVersion refuses what this plugin, or the verb, does not know.
func checkVersion(command string, v verb, said string) error {
	e := errorf(codeVersion, "cniVersion %q: incompatible version", said)
	e.Details = "supported: " + strings.Join(supported, ", ")
	if said == "" {
		e.Msg = `cniVersion is missing, which means "0.1.0": incompatible version`
	}
	if !slices.Contains(supported, said) {
		return e
	}
	if ok, err := cniversion.GreaterThanOrEqualTo(said, v.since); err != nil || !ok {
		e.Msg = fmt.Sprintf("cniVersion %q: %s needs %s", said, command, v.since)
		return e
	}
	return nil
}

// versions answers VERSION. It echoes the version asked with, as the
// specification says, and needs no valid input.
func versions(stdin io.Reader) ([]byte, error) {
	said := newest
	if raw, err := readStdin(stdin); err == nil {
		if _, v, err := readHead(raw); err == nil && v != "" {
			said = v
		}
	}
	var o plainjson.Object
	o.Must("cniVersion", said)
	o.Texts("supportedVersions", supported)
	return o.Bytes()
}

// undoing runs an undo with a context of its own, since the verb's may have
// ended, and adds its failure to err.
func undoing(ctx context.Context, err error, undo func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	uerr := undo(ctx)
	switch {
	case uerr != nil && err == nil:
		return uerr
	case uerr != nil:
		ce := *asCNIError(err)
		ce.Details = strings.TrimSpace(ce.Details + "\nand taking it back: " + uerr.Error())
		return &ce
	}
	return err
}
