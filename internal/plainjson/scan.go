package plainjson

// A scanner walks over a document. It checks all that it passes.
type scanner struct {
	data []byte
	at   int
}

// peek returns the next byte, 0 at the end.
func (s *scanner) peek() byte {
	if s.at < len(s.data) {
		return s.data[s.at]
	}
	return 0
}

func (s *scanner) take(b byte) bool {
	if s.peek() != b {
		return false
	}
	s.at++
	return true
}

func (s *scanner) space() {
	for s.at < len(s.data) {
		switch s.data[s.at] {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return
		}
	}
}

// list walks over what is between opening and closing; one walks over an entry.
func (s *scanner) list(opening, closing byte, one func() bool) bool {
	if !s.take(opening) {
		return false
	}
	if s.space(); s.take(closing) {
		return true
	}
	for {
		s.space()
		if !one() {
			return false
		}
		s.space()
		if s.take(closing) {
			return true
		}
		if !s.take(',') {
			return false
		}
	}
}

// next walks over a value that was checked before, with the space before it.
func (s *scanner) next() (Value, bool) {
	s.space()
	start := s.at
	ok := s.value(0)
	return Value(s.data[start:s.at]), ok
}

// value walks over a value.
func (s *scanner) value(depth int) bool {
	if depth == MaxDepth {
		return false
	}
	switch s.peek() {
	case '{':
		return s.list('{', '}', func() bool {
			if !s.text() {
				return false
			}
			if s.space(); !s.take(':') {
				return false
			}
			s.space()
			return s.value(depth + 1)
		})
	case '[':
		return s.list('[', ']', func() bool { return s.value(depth + 1) })
	case '"':
		return s.text()
	case 't':
		return s.word("true")
	case 'f':
		return s.word("false")
	case 'n':
		return s.word("null")
	}
	return s.integer()
}

func (s *scanner) word(w string) bool {
	if len(s.data)-s.at < len(w) || string(s.data[s.at:s.at+len(w)]) != w {
		return false
	}
	s.at += len(w)
	return true
}

// integer walks over a number without fraction and exponent.
func (s *scanner) integer() bool {
	s.take('-')
	start := s.at
	for '0' <= s.peek() && s.peek() <= '9' {
		s.at++
	}
	first := s.at > start && s.data[start] == '0'
	switch {
	case s.at == start, first && s.at > start+1:
		return false
	}
	switch s.peek() {
	case '.', 'e', 'E':
		return false
	}
	return true
}

// text walks over a text without escapes and beyond ASCII.
func (s *scanner) text() bool {
	if !s.take('"') {
		return false
	}
	for s.at < len(s.data) {
		c := s.data[s.at]
		s.at++
		switch {
		case c == '"':
			return true
		case !plain(c):
			return false
		}
	}
	return false
}

func (s *scanner) plainText() (string, bool) {
	start := s.at
	if !s.text() {
		return "", false
	}
	return string(s.data[start+1 : s.at-1]), true
}

// plain reports whether c stands for itself in a text, between quotes.
func plain(c byte) bool { return ' ' <= c && c <= '~' && c != '"' && c != '\\' }
