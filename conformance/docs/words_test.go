package docs_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/vmnet-cni/vmnet/conformance/docs"
)

// said are the commands of a page, in blocks and in the text.
func said(t *testing.T, p docs.Page) (list []string) {
	t.Helper()
	for _, b := range blocks(t, p) {
		if b.Language == "sh" || b.Language == "console" {
			for _, c := range b.Commands() {
				list = append(list, strings.Join(strings.Fields(strings.ReplaceAll(c.Text, "\\\n", " ")), " "))
			}
		}
	}
	return append(list, p.Code()...)
}

// source returns a file of the repository.
func source(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

var (
	shimWord = regexp.MustCompile(`(?:^|[ $(])(?:bin/)?vmnet-shim ([a-z_-]+)( release)?([^|)]*)`)
	flagWord = regexp.MustCompile(`(?:^|[ \x60(])(--[a-z][a-z0-9-]+)`)
	helpFlag = regexp.MustCompile(`(?m)^ +(?:-., )?(--[a-z0-9-]+)`)
	helpWord = regexp.MustCompile(`(?m)^  ([a-z_-]+) `)
)

// helps returns the help of every command of vmnet-shim.
func helps(t *testing.T) map[string]string {
	t.Helper()
	help := func(args ...string) string {
		out, err := exec.Command(filepath.Join(bin, "vmnet-shim"), append(args, "--help")...).Output()
		if err != nil {
			t.Fatalf("%s --help: %v", args, err)
		}
		return string(out)
	}
	texts := map[string]string{"help": "", "leases release": help("leases", "release")}
	_, list, _ := strings.Cut(help(), "[command]\n")
	for _, m := range helpWord.FindAllStringSubmatch(list, -1) {
		texts[m[1]] = help(m[1])
	}
	return texts
}

// foreign are flags of other programs, which pages name.
var foreign = []string{
	"--annotation", "--cni", "--netns", "--net", "--user", "--plugin", "--options", "--runtime", "--rm", "--permanent", "--zone", "--add-interface",
	"--network-address", "--driver", "--unblock", "--unix-socket", "--device", "--auto-compaction-mode", "--cap-add",
}

// TestFlags looks for commands and flags of vmnet-shim that it does not have.
func TestFlags(t *testing.T) {
	texts := helps(t)
	all := slices.Clone(foreign)
	for _, text := range texts {
		for _, m := range helpFlag.FindAllStringSubmatch(text, -1) {
			all = append(all, m[1])
		}
	}
	for _, p := range pages(t) {
		for _, text := range said(t, p) {
			for _, m := range shimWord.FindAllStringSubmatch(text, -1) {
				help, ok := texts[m[1]+m[2]]
				if !ok {
					t.Errorf("%s: %q: vmnet-shim has no command %s", p.Path, text, m[1])
					continue
				}
				flags, _, _ := strings.Cut(m[3], " -- ") // what follows is another program's
				for _, f := range flagWord.FindAllStringSubmatch(flags, -1) {
					if !regexp.MustCompile(`(?m)` + f[1] + `( |$)`).MatchString(help) {
						t.Errorf("%s: %q: vmnet-shim %s has no flag %s", p.Path, text, m[1], f[1])
					}
				}
			}
		}
		if p.Path == "conformance/cni/README.md" { // a program of its own, with a test of its page
			continue
		}
		for _, text := range p.Code() {
			if f := flagWord.FindStringSubmatch(text); f != nil && strings.HasPrefix(text, "--") && !slices.Contains(all, f[1]) {
				t.Errorf("%s: %q: no command has the flag %s", p.Path, text, f[1])
			}
		}
	}
}

var makeWord = regexp.MustCompile(`^(?:\w+=\S+ )*make ([a-z][a-z -]*)`)

// TestMakeTargets looks for targets that the Makefile does not have.
func TestMakeTargets(t *testing.T) {
	makefile := source(t, "Makefile")
	for _, p := range pages(t) {
		for _, text := range said(t, p) {
			m := makeWord.FindStringSubmatch(text)
			if m == nil {
				continue
			}
			for _, target := range strings.Fields(m[1]) {
				if !strings.Contains(makefile, "\n"+target+":") {
					t.Errorf("%s: %q: no target %s", p.Path, text, target)
				}
			}
		}
	}
}

var (
	proofWord = regexp.MustCompile(`^((?:pkg|cmd|plugins|conformance|internal)/\S+) ((?:Test|Fuzz|Benchmark)\w+)$`)
	goTest    = regexp.MustCompile(`(?:^| )go test .*`)
	runFlag   = regexp.MustCompile(` -(?:run|bench|fuzz) '?([^' ]+)'?`)
	goPackage = regexp.MustCompile(` (\./[\w/-]+)`)
)

// TestNamedTests looks for tests that pages name, and that are not there.
func TestNamedTests(t *testing.T) {
	for _, p := range pages(t) {
		for _, text := range said(t, p) {
			if m := proofWord.FindStringSubmatch(text); m != nil && !hasTest(t, m[1]+" "+m[2]) {
				t.Errorf("%s: no test %s", p.Path, text)
			}
			text := goTest.FindString(text)
			for _, dir := range goPackage.FindAllStringSubmatch(text, -1) {
				for _, name := range runFlag.FindAllStringSubmatch(text, -1) {
					if !declares(t, dir[1], name[1]) {
						t.Errorf("%s: %q: %s has no function that %s matches", p.Path, text, dir[1], name[1])
					}
				}
			}
		}
	}
}

var testFunc = regexp.MustCompile(`(?m)^func ((?:Test|Benchmark|Fuzz)\w*)\(`)

// declares reports whether a package has a test that the pattern of -run matches.
func declares(t *testing.T, dir, pattern string) bool {
	t.Helper()
	pattern, _, _ = strings.Cut(pattern, "/")
	if pattern == "^$" || pattern == "NONE" {
		return true
	}
	re, err := regexp.Compile(pattern)
	files, err2 := filepath.Glob(filepath.Join(root, dir, "*_test.go"))
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	return slices.ContainsFunc(files, func(f string) bool {
		data, _ := os.ReadFile(f)
		return slices.ContainsFunc(testFunc.FindAllSubmatch(data, -1), func(m [][]byte) bool { return re.Match(m[1]) })
	})
}

// TestMetricsAndEvents compares pages with the source, both ways.
func TestMetricsAndEvents(t *testing.T) {
	page := source(t, "docs/observe.md")
	for _, m := range regexp.MustCompile(`NewDesc\("(vmnet_[a-z_]+)"`).FindAllStringSubmatch(source(t, "pkg/shim/server/metrics.go"), -1) {
		if !strings.Contains(page, "`"+m[1]+"`") {
			t.Errorf("docs/observe.md: metric %s is missing", m[1])
		}
	}
	for _, m := range regexp.MustCompile(`Event\w+ += "([a-z-]+)"`).FindAllStringSubmatch(source(t, "pkg/shim/events.go"), -1) {
		if !strings.Contains(page, "`"+m[1]+"`") {
			t.Errorf("docs/observe.md: event %s is missing", m[1])
		}
	}
	code := source(t, "pkg/shim/server/metrics.go")
	for _, name := range []string{"docs/observe.md", "docs/api.md"} {
		_, section, _ := strings.Cut(source(t, name), "## Metrics")
		section, _, _ = strings.Cut(section, "\n## ")
		for _, m := range regexp.MustCompile("`(vmnet_[a-z_]+)`").FindAllStringSubmatch(section, -1) {
			if !strings.Contains(code, `"`+m[1]+`"`) {
				t.Errorf("%s: no metric %s", name, m[1])
			}
		}
	}
}

// validate has the plugin judge a configuration.
func validate(t *testing.T, conf []byte) string {
	t.Helper()
	cmd := exec.Command(filepath.Join(bin, "vmnet"), "validate", "-")
	cmd.Stdin = bytes.NewReader(conf)
	out, err := cmd.CombinedOutput()
	if err == nil {
		return ""
	}
	return string(out)
}
