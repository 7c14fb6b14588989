package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What "vmnet validate" says of files: all problems, each with key, value and
// what would be right.
func TestValidate(t *testing.T) {
	list := func(plugin string) string {
		return `{"cniVersion":"1.1.0","name":"n","plugins":[` + plugin + `]}`
	}
	for _, tt := range []struct {
		name, file string
		exit       int
		want       []string
	}{
		{"good list", list(`{"type":"vmnet","capabilities":{"mac":true,"ipRanges":true}},{"type":"tuning","sysctl":{}}`), 0, []string{"good: network n, cniVersion 1.1.0"}},
		{"good single", `{"cniVersion":"0.4.0","name":"n","type":"vmnet","mode":"host"}`, 0, []string{"good: network n, cniVersion 0.4.0"}},
		{"versions", `{"cniVersions":["0.3.1","1.0.0","2.0.0"],"name":"n","plugins":[{"type":"vmnet"}],"disableGC":"true"}`, 0, []string{"cniVersion 1.0.0"}},
		{"delegated", list(`{"type":"vmnet","ipam":{"type":"host-local","x":1}}`), 0, []string{"good"}},
		{"not JSON", "{\n \"name\": \"n\",,\n}", 1, []string{"line 2, column 14: invalid character ','"}},
		{"empty", "", 1, []string{"line 1, column 1: unexpected end"}},
		{"a list", "[]", 1, []string{"want one JSON object"}},
		{"null", "null", 1, []string{"want one JSON object"}},
		{"everything", list(`{"type":"vmnet","mode":"nat","mtu":9,"subnet":"10.0.0.1/24","foo":1,"dns":{"servers":[]},"prevResult":{},"name":"m","capabilities":{"teleport":true}}`), 1, []string{
			`plugins[0]: prevResult {}: want no such key`, `plugins[0]: name "m": want it in the list`, `plugins[0]: capabilities.teleport true: want one of aliases`,
			`plugins[0]: mode "nat": want shared, host or bridged`, `plugins[0]: mtu 9: want 1280 to 65520 bytes`, `unknown key dns.servers []`, `unknown key foo 1`}},
		{"two values", list(`{"type":"vmnet","mode":"bridged","driver":"x","subnet":"10.0.0.1/24"}`), 1, []string{`driver "x": want`, `subnet "10.0.0.1/24": want`, `uplink "": want`}},
		{"second plugin", list(`{"type":"bridge"},{"type":"vmnet","frames":"tap"}`), 1, []string{`plugins[1]: frames "tap": want dgram or stream, or driver tap`}},
		{"no name", `{"cniVersion":"1.1.0","plugins":[{"type":"vmnet"}]}`, 1, []string{"name is missing"}},
		{"bad name", `{"cniVersion":"1.1.0","name":"a/b","plugins":[{"type":"vmnet"}]}`, 1, []string{`name: network "a/b"`}},
		{"no version", `{"name":"n","plugins":[{"type":"vmnet"}]}`, 1, []string{"cniVersion is missing"}},
		{"old version", `{"cniVersion":"0.2.0","name":"n","plugins":[{"type":"vmnet"}]}`, 1, []string{`cniVersion "0.2.0": want one of 0.3.0`}},
		{"no plugins", `{"cniVersion":"1.1.0","name":"n","plugins":[]}`, 1, []string{"plugins []: want at least one"}},
		{"plugins an object", `{"cniVersion":"1.1.0","name":"n","plugins":{}}`, 1, []string{"plugins {}: want a list of objects"}},
		{"not ours", list(`{"type":"bridge"}`), 1, []string{`none has type "vmnet"`}},
		{"no type", list(`{}`), 1, []string{"plugins[0]: type is missing"}},
		{"key of a plugin in the list", `{"cniVersion":"1.1.0","name":"n","mode":"host","plugins":[{"type":"vmnet"}]}`, 1, []string{`unknown key mode "host"`}},
		{"disableCheck", `{"cniVersion":"1.1.0","name":"n","disableCheck":"yes","plugins":[{"type":"vmnet"}]}`, 1, []string{`disableCheck "yes": want true or false`}},
		{"ipam not there", list(`{"type":"vmnet","ipam":{"type":"nowhere"}}`), 1, []string{`plugins[0]: ipam.type "nowhere": want a plugin in CNI_PATH`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			getenv := func(string) string {
				if strings.Contains(tt.name, "not there") {
					return "/nonexistent"
				}
				return ""
			}
			path := filepath.Join(t.TempDir(), "10-x.conflist")
			if err := os.WriteFile(path, []byte(tt.file), 0o600); err != nil {
				t.Fatal(err)
			}
			exit := command([]string{"validate", path}, getenv, nil, &stdout, &stderr)
			if exit != tt.exit || stderr.Len() > 0 {
				t.Errorf("exit %d, stderr %q: want %d", exit, stderr.String(), tt.exit)
			}
			for _, want := range tt.want {
				if !strings.Contains(stdout.String(), path+": "+want) && !strings.Contains(stdout.String(), want) {
					t.Errorf("stdout %q: want %q", stdout.String(), want)
				}
			}
			if tt.exit != 0 && len(tt.want) > 1 && strings.Count(stdout.String(), "\n") < len(tt.want)-1 {
				t.Errorf("stdout %q: want a line for each problem", stdout.String())
			}
		})
	}
}

func TestValidateCommandLine(t *testing.T) {
	for _, args := range [][]string{{"validate"}, {"help"}, {"-h"}, {"validate", "/nonexistent/x"}, {"schema", "x"}} {
		var stdout, stderr bytes.Buffer
		if exit := command(args, func(string) string { return "" }, nil, &stdout, &stderr); exit != exitUsage || stderr.Len() == 0 || stdout.Len() > 0 {
			t.Errorf("%q: exit %d, %q, %q", args, exit, stdout.String(), stderr.String())
		}
	}
}

// The built program, with the examples and its own schema.
func TestE2EValidate(t *testing.T) {
	h := newHost(t)
	examples, err := filepath.Glob("../../examples/net.d/*.conflist")
	if err != nil || len(examples) == 0 {
		t.Fatal(examples, err)
	}
	out, err := exec.Command(filepath.Join(h.bin, "vmnet"), append([]string{"validate"}, examples...)...).CombinedOutput()
	if err != nil || strings.Count(string(out), ": good") != len(examples) {
		t.Errorf("%v: %s", err, out)
	}
	cmd := exec.Command(filepath.Join(h.bin, "vmnet"), "validate", "-")
	cmd.Stdin = strings.NewReader(`{"name":"n","cniVersion":"1.1.0","plugins":[{"type":"vmnet","mtu":1}]}`)
	if out, err := cmd.CombinedOutput(); err == nil || cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "-: plugins[0]: mtu 1") {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := exec.Command(filepath.Join(h.bin, "vmnet"), "schema").Output(); err != nil || string(out) != schema {
		t.Errorf("schema: %v, %d bytes", err, len(out))
	}
}
