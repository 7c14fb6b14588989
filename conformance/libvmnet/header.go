package libvmnet

import (
	"bufio"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
)

// Kind says what a declaration declares.
type Kind string

// The kinds of declarations.
const (
	Function Kind = "function"
	Variable Kind = "variable" // of the library: a key, a type of XPC
	Constant Kind = "constant" // a value of the compiler: enumerators, macros
	Type     Kind = "type"
)

// A Declaration is one name of the headers with the comment behind it.
type Declaration struct {
	Name, Header string
	Kind         Kind
	Value        string // of a constant, as written
	Since        string // release of macOS, "10.15"
	Deprecated   string // release, or empty
	XPCType      string // of a key: "uint64"
	Where        string // of a key: "desc,param"
	Extra        bool   // not in the list of what clients use, but of its families
}

// Release gives Since as the number that Config.Release has, 101500 for 10.15.
func (d Declaration) Release() int {
	major, minor, _ := strings.Cut(d.Since, ".")
	a, _ := strconv.Atoi(major)
	b, _ := strconv.Atoi(minor)
	return a*10000 + b*100
}

var (
	comment = regexp.MustCompile(`/\* macos (\d+\.\d+)((?: [a-z]+(?: [a-z0-9.,]+)?)*) \*/$`)
	// The name in each form of declaration; a function's stands before its "(".
	forms = []struct {
		kind Kind
		re   *regexp.Regexp
	}{
		{Constant, regexp.MustCompile(`^#define (\w+) \((.+)\)$`)},
		{Constant, regexp.MustCompile(`^(\w+) = (.+),$`)},
		{Type, regexp.MustCompile(`^typedef .*\(\^(\w+)\)\(.*\);$`)},
		{Type, regexp.MustCompile(`^typedef .*?(\w+);$`)},
		{Variable, regexp.MustCompile(`^extern .*?(\w+)(?:\[\])?;$`)},
		{Function, regexp.MustCompile(`^[^(=]*?(\w+)\(.*\);$`)},
	}
)

// Declarations reads the headers: every line that carries a release of macOS.
func Declarations() ([]Declaration, error) {
	var all []Declaration
	err := fs.WalkDir(sources, "include", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := sources.ReadFile(path)
		if err != nil {
			return err
		}
		lines := bufio.NewScanner(strings.NewReader(string(data)))
		for n := 1; lines.Scan(); n++ {
			d, ok, err := parse(strings.TrimSpace(lines.Text()))
			if err != nil {
				return fmt.Errorf("%s:%d: %w", path, n, err)
			}
			if ok {
				d.Header = strings.TrimPrefix(path, "include/")
				all = append(all, d)
			}
		}
		return lines.Err()
	})
	return all, err
}

// parse reads one line; false: it declares nothing of the framework's.
func parse(line string) (Declaration, bool, error) {
	if strings.HasPrefix(line, "//") {
		return Declaration{}, false, nil
	}
	m := comment.FindStringSubmatch(line)
	if m == nil {
		if strings.Contains(line, "/* macos") {
			return Declaration{}, false, fmt.Errorf("declaration %q: comment cannot be read", line)
		}
		return Declaration{}, false, nil
	}
	d := Declaration{Since: m[1]}
	words := strings.Fields(m[2])
	for i := 0; i < len(words); i++ {
		field := map[string]*string{"deprecated": &d.Deprecated, "type": &d.XPCType, "in": &d.Where}[words[i]]
		switch {
		case words[i] == "extra":
			d.Extra = true
		case field != nil && i+1 < len(words):
			i++
			*field = words[i]
		default:
			return d, false, fmt.Errorf("declaration %q: unknown word %q", line, words[i])
		}
	}
	text := strings.TrimSpace(strings.TrimSuffix(line, m[0]))
	for _, form := range forms {
		if f := form.re.FindStringSubmatch(text); f != nil {
			d.Kind, d.Name = form.kind, f[1]
			if form.kind == Constant {
				d.Value = f[2]
			}
			return d, true, nil
		}
	}
	return d, false, fmt.Errorf("declaration %q: no known form", line)
}
