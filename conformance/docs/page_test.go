package docs_test

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"testing"

	"github.com/vmnet-cni/vmnet/conformance/docs"
)

const root = "../.."

func pages(t *testing.T) []docs.Page {
	t.Helper()
	list, err := docs.Pages(root)
	if err != nil || len(list) < 10 {
		t.Fatalf("%d pages, %v", len(list), err)
	}
	return list
}

func blocks(t *testing.T, p docs.Page) []docs.Block {
	t.Helper()
	list, err := p.Blocks()
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestLinks looks where every relative link leads.
func TestLinks(t *testing.T) {
	list := pages(t)
	anchors := map[string]map[string]bool{}
	for _, p := range list {
		anchors[p.Path] = p.Anchors()
	}
	for _, p := range list {
		for _, link := range p.Links() {
			if strings.Contains(link, "://") || strings.HasPrefix(link, "mailto:") {
				continue
			}
			file, anchor, _ := strings.Cut(link, "#")
			target := p.Path
			if file != "" {
				target = path.Join(path.Dir(p.Path), file)
			}
			if _, err := os.Stat(path.Join(root, target)); err != nil {
				t.Errorf("%s: link %s: %v", p.Path, link, err)
			}
			if anchor != "" && anchors[target] != nil && !anchors[target][anchor] {
				t.Errorf("%s: link %s: no such heading", p.Path, link)
			}
		}
	}
}

// TestShown looks for pictures and recordings that no page shows.
func TestShown(t *testing.T) {
	shown := map[string]bool{}
	for _, p := range pages(t) {
		for _, link := range p.Links() {
			file, _, _ := strings.Cut(link, "#")
			shown[path.Join(path.Dir(p.Path), file)] = true
		}
	}
	err := fs.WalkDir(os.DirFS(root), "docs", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && path.Ext(name) != ".md" && !shown[name] {
			t.Errorf("%s: no page shows it", name)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestBlocks(t *testing.T) {
	p := docs.Page{Text: "a `b\nc` [x](y.md#z)\n```console\n$ one \\\n  two\nout …\n$ three\n```\n# A B, `c`\n```sh\n# no\nx=1\n```\n"}
	list := blocks(t, p)
	got := fmt.Sprint(list[0].Commands(), list[1].Commands(), p.Code(), p.Links(), p.Anchors())
	want := "[{4 one \\\n  two out …\n} {7 three }] [{12 x=1 }] [b c c] [y.md#z] map[a-b-c:true]"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, err := (docs.Page{Text: "```\n"}).Blocks(); err == nil {
		t.Error("an open block is no error")
	}
	if !(docs.Block{Text: "text\nA=b sudo make it\n"}).LooksLikeCommands() || (docs.Block{Text: "make-believe\n"}).LooksLikeCommands() {
		t.Error("commands are not known")
	}
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		shown, output string
		want          bool
	}{
		{"a\n", "a\n", true},
		{"a …\nb\n", "a 1.2\nb\n", true},
		{"a\n…\nz\n", "a\nb\nc\nz\n", true},
		{"a\n…\nz\n", "a\nz\n", true},
		{"a.\n", "ab\n", false},
		{"a\n", "a\nb\n", false},
		{"", "a\n", false},
	} {
		if got := docs.Matches(c.shown, c.output); got != c.want {
			t.Errorf("%q shows %q: %t, want %t", c.shown, c.output, got, c.want)
		}
	}
}
