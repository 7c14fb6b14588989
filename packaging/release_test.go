package packaging_test

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/vmnet-cni/vmnet/cmd/vmnet-shim/install"
)

// releaseConfig is what .goreleaser.yaml says, as far as it is looked at here.
type releaseConfig struct {
	Builds []struct {
		Main   string
		Binary string
		Goos   []string
		Goarch []string
	}
	Archives []struct {
		Name  string `yaml:"name_template"`
		Files []struct {
			Src, Dst string
			Info     struct{ Mode int }
		}
	}
	NFPMs []struct {
		Name     string `yaml:"file_name_template"`
		Scripts  map[string]string
		Contents []struct {
			Src, Dst, Type string
			FileInfo       struct{ Mode int } `yaml:"file_info"`
		}
	}
	SBOMs []struct {
		Cmd       string
		Documents []string
	}
	Before struct{ Hooks []string }
}

func readRelease(t *testing.T) (c releaseConfig) {
	t.Helper()
	data, err := os.ReadFile(".goreleaser.yaml")
	if err == nil {
		err = yaml.Unmarshal(data, &c)
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Builds) != 2 || len(c.Archives) != 1 || len(c.NFPMs) != 1 || len(c.SBOMs) != 1 || len(c.Before.Hooks) != 1 {
		t.Fatalf("other sections than expected: %+v", c)
	}
	return c
}

// made are the files that "make release-files" makes, and one of the builds.
var made = []string{
	"bin/release/man/x.1", "bin/release/man/x.1.gz", "bin/release/changelog.gz", "dist/vmnet_{{ .Target }}/vmnet",
	"bin/release/completions/vmnet-shim.bash", "bin/release/completions/_vmnet-shim", "bin/release/completions/vmnet-shim.fish",
}

// present returns the files there are with their modes, 0644 or 0755 whatever the
// umask was, and those made.
func present(t *testing.T) map[string]int {
	t.Helper()
	files := map[string]int{}
	for _, dir := range []string{"LICENSE", "README.md", "CHANGELOG.md", "SECURITY.md", "docs", "examples", "packaging"} {
		err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			files[name] = 0o644 | int(info.Mode()&0o100)/0o100*0o111
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range made {
		files[name] = 0
	}
	return files
}

// matcher makes a regular expression of a pattern as GoReleaser reads it: "**" stands
// for anything, "*" for anything without a slash, {a,b} for either.
func matcher(pattern string) *regexp.Regexp {
	s := regexp.QuoteMeta(pattern)
	if !strings.Contains(pattern, "{{") {
		s = strings.NewReplacer(`\{`, "(", `\}`, ")", ",", "|").Replace(s)
	}
	return regexp.MustCompile("^" + strings.NewReplacer(`\*\*`, ".*", `\*`, "[^/]*").Replace(s) + "$")
}

// matched returns what a pattern takes, and complains of none and of another mode
// than a file has.
func matched(t *testing.T, files map[string]int, pattern string, mode int) (names []string) {
	t.Helper()
	for name, of := range files {
		if !matcher(pattern).MatchString(name) {
			continue
		}
		names = append(names, name)
		if of != 0 && mode != of {
			t.Errorf("%s gets mode %#o by %s; it is %#o", name, mode, pattern, of)
		}
	}
	if len(names) == 0 {
		t.Errorf("%s: no such file", pattern)
	}
	return names
}

// missing complains of files below the directories that are not among the names.
func missing(t *testing.T, what string, files map[string]int, names []string, dirs ...string) {
	t.Helper()
	for _, dir := range dirs {
		for name := range files {
			if strings.HasPrefix(name, dir) && !slices.Contains(names, name) {
				t.Errorf("the %s is without %s", what, name)
			}
		}
	}
}

// TestArchive has the archive take files that are there, and all of each directory.
func TestArchive(t *testing.T) {
	t.Chdir("..")
	c, files := readRelease(t), present(t)
	var names []string
	for _, f := range c.Archives[0].Files {
		names = append(names, matched(t, files, f.Src, f.Info.Mode)...)
	}
	missing(t, "archive", files, names, "LICENSE", "docs/", "examples/", "packaging/systemd/", "packaging/launchd/", "packaging/macos/", "packaging/sudoers/", "bin/release/completions/")
	for _, b := range c.Builds {
		if _, err := os.Stat(b.Main); err != nil || b.Binary != path.Base(b.Main) || len(b.Goos)*len(b.Goarch) != 4 {
			t.Errorf("build %+v: %v", b, err)
		}
	}
}

// TestDebianPackage has the package take files that are there, every example, and a
// link for each program as which vmnet-shim acts.
func TestDebianPackage(t *testing.T) {
	t.Chdir("..")
	p, files := readRelease(t).NFPMs[0], present(t)
	var names, links []string
	for _, f := range p.Contents {
		if f.Type == "symlink" {
			links = append(links, f.Src+" "+f.Dst)
			continue
		}
		names = append(names, matched(t, files, f.Src, f.FileInfo.Mode)...)
	}
	missing(t, "package", files, names, "examples/", "packaging/systemd/", "bin/release/completions/")
	want := []string{"/usr/lib/cni/vmnet /opt/cni/bin/vmnet"}
	for _, name := range install.DropIns() {
		want = append(want, "vmnet-shim /usr/bin/"+name)
	}
	if !slices.Equal(links, want) {
		t.Errorf("links %q, want %q", links, want)
	}
	for _, script := range p.Scripts {
		if _, ok := files[script]; !ok {
			t.Errorf("%s: no such script", script)
		}
	}
	if len(p.Scripts) != 3 {
		t.Errorf("scripts: %v", p.Scripts)
	}
}

// TestReleaseNames has the page name what a release has, the Makefile make what
// GoReleaser takes, and the workflow publish it.
func TestReleaseNames(t *testing.T) {
	t.Chdir("..")
	c := readRelease(t)
	read := func(name string) string {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	page, makefile, workflow := read("docs/install.md"), read("Makefile"), read(".github/workflows/release.yml")
	plain := strings.NewReplacer("{{ .Version }}", "VERSION", "{{ .Os }}", "OS", "{{ .Arch }}", "ARCH")
	for _, name := range []string{c.Archives[0].Name + ".tar.gz", c.NFPMs[0].Name + ".deb", c.SBOMs[0].Documents[0], "checksums.txt", "vmnet.rb"} {
		if name = plain.Replace(name); !strings.Contains(page, "`"+strings.Replace(name, "_OS_ARCH.deb", "_linux_ARCH.deb", 1)+"`") {
			t.Errorf("docs/install.md does not name %s", name)
		}
		if _, ext, ok := strings.Cut(name, "_ARCH"); ok {
			name = "*" + ext
		}
		if !strings.Contains(workflow, "/"+name+" ") {
			t.Errorf("the workflow does not publish %s", name)
		}
	}
	target := strings.Fields(c.Before.Hooks[0])[1]
	_, recipe, ok := strings.Cut(makefile, "\n"+target+":")
	if recipe, _, _ = strings.Cut(recipe, "\n\n"); !ok || !strings.Contains(recipe, "release/"+path.Base(c.SBOMs[0].Cmd)+" ") {
		t.Errorf("the Makefile's %s does not make %s", target, c.SBOMs[0].Cmd)
	}
}
