package docs

import (
	"regexp"
	"strings"
)

// A Command is one that a block shows, and what it prints there.
type Command struct {
	Line   int    // in the page
	Text   string // with continued lines joined
	Output string // of a console block: what is shown below
}

// Commands returns the commands of a block that is marked sh or console.
func (b Block) Commands() (list []Command) {
	n, joined := b.Line, false
	for line := range strings.Lines(b.Text) {
		n++
		line = strings.TrimSuffix(line, "\n")
		prompt, isCommand := cutPrompt(line)
		switch {
		case joined:
			c := &list[len(list)-1]
			c.Text += "\n" + line
		case b.Language == "console" && !isCommand:
			if len(list) > 0 {
				list[len(list)-1].Output += line + "\n"
			}
			continue
		case b.Language == "console":
			list = append(list, Command{Line: n, Text: prompt})
		case strings.TrimSpace(line) == "" || strings.HasPrefix(strings.TrimSpace(line), "#"):
			continue
		default:
			list = append(list, Command{Line: n, Text: line})
		}
		joined = strings.HasSuffix(line, `\`)
	}
	return list
}

func cutPrompt(line string) (string, bool) {
	for _, prompt := range []string{"$ ", "# "} {
		if rest, ok := strings.CutPrefix(line, prompt); ok {
			return rest, true
		}
	}
	return line, false
}

// commandWord begins a line that looks like a command.
var commandWord = regexp.MustCompile(`^(\$ |# )?([A-Z_]+=\S* )*(sudo|make|vmnet|vmnet-shim|bin/\S+|\./\S+|go|curl|ln|brew|cnitool|ctr|systemctl|launchctl|codesign|socket_vmnet|vmnet-helper) `)

// LooksLikeCommands reports whether a block has a line that looks like a command.
func (b Block) LooksLikeCommands() bool {
	for line := range strings.Lines(b.Text) {
		if commandWord.MatchString(strings.TrimSpace(line) + " ") {
			return true
		}
	}
	return false
}

// Matches reports whether output is what a page shows: … stands for anything in a
// line, and alone for any lines.
func Matches(shown, output string) bool {
	pattern := `\A`
	for line := range strings.Lines(shown) {
		if strings.TrimSpace(line) == "…" {
			pattern += `(.*\n)*`
			continue
		}
		parts := strings.Split(strings.TrimSuffix(line, "\n"), "…")
		for i, p := range parts {
			parts[i] = regexp.QuoteMeta(p)
		}
		pattern += strings.Join(parts, ".*") + `\n`
	}
	ok, err := regexp.MatchString(pattern+`\z`, output)
	return ok && err == nil
}
