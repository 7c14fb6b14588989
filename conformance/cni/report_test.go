package cni_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmnet-cni/vmnet/conformance/cni"
)

func report() *cni.Report {
	return &cni.Report{
		Spec: cni.SpecVersion, Plugin: "p", Version: "1.1.0", Kind: cni.KindInterface, Domain: cni.DomainOpaque,
		Results: []cni.Result{
			{ID: "E01", Level: cni.Must, Grade: cni.Compat, Sentence: "s1", Source: "x", Status: cni.Pass},
			{ID: "E06", Level: cni.Must, Grade: cni.Spec, Sentence: "s2", Source: "x", Status: cni.Fail, Reason: "r2", Seen: []string{"<seen>"}},
			{ID: "D01", Level: cni.Must, Grade: cni.Compat, Sentence: "s3", Source: "x", Status: cni.Fail, Reason: "r3"},
			{ID: "D10", Level: cni.Robust, Grade: cni.Compat, Sentence: "s4", Source: "x", Status: cni.Skip, Reason: "r4"},
		},
	}
}

func TestGrades(t *testing.T) {
	r := report()
	if n := len(r.Failed(cni.Spec)); n != 2 {
		t.Errorf("grade spec: %d failures, want 2", n)
	}
	if f := r.Failed(cni.Compat); len(f) != 1 || f[0].ID != "D01" {
		t.Errorf("grade compat: %v, want D01 alone", f)
	}
}

func TestText(t *testing.T) {
	var b bytes.Buffer
	if err := report().Text(&b, cni.Compat); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"pass E01 M\n", "warn E06 M  r2\n", "fail D01 M  r3\n", "skip D10 R  r4\n", "seen: <seen>", "4 checks: 1 pass, 1 fail, 1 warn, 1 skip\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

func TestJSON(t *testing.T) {
	var b bytes.Buffer
	if err := report().JSON(&b); err != nil {
		t.Fatal(err)
	}
	var back cni.Report
	if err := json.Unmarshal(b.Bytes(), &back); err != nil || len(back.Results) != 4 || back.Results[1].Seen[0] != "<seen>" {
		t.Errorf("%v: %s", err, b.String())
	}
}

func TestJUnit(t *testing.T) {
	var b bytes.Buffer
	if err := report().JUnit(&b, cni.Compat); err != nil {
		t.Fatal(err)
	}
	var suite struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Skipped  int `xml:"skipped,attr"`
		Cases    []struct {
			Name    string `xml:"name,attr"`
			Failure *struct {
				Message string `xml:"message,attr"`
			} `xml:"failure"`
		} `xml:"testcase"`
	}
	if err := xml.Unmarshal(b.Bytes(), &suite); err != nil {
		t.Fatal(err)
	}
	if suite.Tests != 4 || suite.Failures != 1 || suite.Skipped != 1 || suite.Cases[1].Failure != nil || suite.Cases[2].Failure.Message != "r3" {
		t.Errorf("got %+v", suite)
	}
}

// TestCommand: exit codes and messages of the command line.
func TestCommand(t *testing.T) {
	target := mutantTarget(t, "V02")
	conf := filepath.Join(t.TempDir(), "conf.json")
	writeFile(t, conf, target.Config)
	good := []string{"--plugin", target.Plugin, "--config", conf, "--env", target.Env[0], "--env", target.Env[1], "--ignore", "link *"}
	for _, tt := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"a check that passes", append(good, "--run", "V01"), 0, "1 checks: 1 pass"},
		{"a failure", append(good, "--run", "V02"), 1, "fail V02"},
		{"a failure that does not count", append(good, "--run", "V02", "--grade", "compat"), 0, "warn V02"},
		{"json", append(good, "--run", "V*", "--output", "json"), 1, `"id": "V06"`},
		{"junit", append(good, "--run", "V01,V02", "--output", "junit"), 1, "<testsuite"},
		{"golden", append(good, "--run", "V01", "--output", "golden"), 0, "V01 pass\n"},
		{"a domain that is none", append(good, "--run", "A01", "--domain", "none"), 0, "skip A01 M  no isolation domain"},
		{"the list", []string{"--list"}, 0, "G02 M spec"},
		{"an unknown check", append(good, "--run", "X01"), 2, `check "X01"`},
		{"an unknown grade", append(good, "--grade", "x"), 2, `grade "x": want spec or compat`},
		{"an unknown output", append(good, "--output", "x"), 2, `output "x"`},
		{"an unknown domain", append(good, "--domain", "x"), 2, `domain "x"`},
		{"an unknown kind", append(good, "--kind", "x"), 2, `kind "x"`},
		{"a bad patch", append(good, "--bad", "x"), 2, "patch x"},
		{"a bad environment", append(good, "--env", "x"), 2, `environment "x"`},
		{"an argument", append(good, "x"), 2, `argument "x"`},
		{"no configuration", []string{"--plugin", target.Plugin}, 2, "config: want"},
		{"no plugin", []string{"--config", conf}, 2, "plugin: want"},
		{"a plugin that is no program", []string{"--plugin", conf, "--config", conf}, 2, "want an executable file"},
		{"a configuration that is none", []string{"--plugin", target.Plugin, "--config", target.Plugin}, 2, "want a JSON object"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, err := exec.CommandContext(t.Context(), built.command, tt.args...).CombinedOutput()
			code := 0
			var ee *exec.ExitError
			if errors.As(err, &ee) {
				code = ee.ExitCode()
			}
			if code != tt.code || !strings.Contains(string(out), tt.want) {
				t.Errorf("exit %d, want %d; no %q in\n%s", code, tt.code, tt.want, out)
			}
		})
	}
}

// TestRun: the suite as a test.
func TestRun(t *testing.T) {
	cni.Run(t, mutantTarget(t, ""), "V*")
	cni.RunGrade(t, mutantTarget(t, "V02"), cni.Compat, "V02")
}
