package docs

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// A Page is a Markdown file.
type Page struct {
	Path string // relative to the root of the repository, with slashes
	Text string
}

// A Block is a fenced block of a page.
type Block struct {
	Line     int // of the fence, from 1
	Language string
	Text     string // with a newline at its end
}

// Pages returns the Markdown files below root that are for readers.
func Pages(root string) (pages []Page, err error) {
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "internal" || name == "bin" || name == "dist") {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(name) != ".md" {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		pages = append(pages, Page{Path: filepath.ToSlash(rel), Text: string(data)})
		return err
	})
	return pages, err
}

// Blocks returns the fenced blocks.
func (p Page) Blocks() (blocks []Block, err error) {
	var open *Block
	n := 0
	for line := range strings.Lines(p.Text) {
		n++
		fence, isFence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case isFence && open == nil:
			open = &Block{Line: n, Language: fence}
		case isFence:
			blocks, open = append(blocks, *open), nil
		case open != nil:
			open.Text += line
		}
	}
	if open != nil {
		return nil, fmt.Errorf("%s:%d: block is not closed", p.Path, open.Line)
	}
	return blocks, nil
}

var fenced = regexp.MustCompile("(?ms)^ *```.*?^ *```")

// Prose returns the page without its fenced blocks.
func (p Page) Prose() string { return fenced.ReplaceAllString(p.Text, "") }

var codeSpan = regexp.MustCompile("`([^`]+)`")

// Code returns the spans of code in the prose, each on one line.
func (p Page) Code() (spans []string) {
	for _, m := range codeSpan.FindAllStringSubmatch(p.Prose(), -1) {
		spans = append(spans, strings.Join(strings.Fields(m[1]), " "))
	}
	return spans
}

var (
	inlineLink  = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	definedLink = regexp.MustCompile(`(?m)^\[[^\]]+\]: (\S+)`)
	heading     = regexp.MustCompile(`(?m)^#+ +(.*)$`)
	notInSlug   = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// Links returns the targets of links in the prose.
func (p Page) Links() (links []string) {
	prose := codeSpan.ReplaceAllString(p.Prose(), "code")
	for _, re := range []*regexp.Regexp{inlineLink, definedLink} {
		for _, m := range re.FindAllStringSubmatch(prose, -1) {
			links = append(links, m[1])
		}
	}
	return links
}

// Anchors returns what a link may have after "#", as GitHub makes it from headings.
func (p Page) Anchors() map[string]bool {
	set := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(p.Prose(), -1) {
		text := notInSlug.ReplaceAllString(strings.ToLower(strings.TrimSpace(m[1])), "")
		set[strings.ReplaceAll(text, " ", "-")] = true
	}
	return set
}
