package plainjson

import (
	"encoding"
	"strconv"
)

// A Value is the text of one JSON value, without space around it.
type Value []byte

// Parse returns the value that data holds, with space around it or without, and
// whether it is one and is plain. The value shares data's memory.
func Parse(data []byte) (Value, bool) {
	s := scanner{data: data}
	s.space()
	start := s.at
	if !s.value(0) {
		return nil, false
	}
	v := Value(data[start:s.at])
	s.space()
	return v, s.at == len(data)
}

// Members calls visit with each member of the object v, which Parse returned or
// visit got. It reports whether v is an object and visit returned true each time.
func (v Value) Members(visit func(key string, v Value) bool) bool {
	s := scanner{data: v}
	return s.list('{', '}', func() bool {
		key, ok := s.plainText()
		if s.space(); !ok || !s.take(':') {
			return false
		}
		e, ok := s.next()
		return ok && visit(key, e)
	})
}

// Elements calls visit with each element of the list v, as Members does.
func (v Value) Elements(visit func(v Value) bool) bool {
	s := scanner{data: v}
	return s.list('[', ']', func() bool {
		e, ok := s.next()
		return ok && visit(e)
	})
}

// Text sets *dst to the text v.
func (v Value) Text(dst *string) bool {
	s := scanner{data: v}
	text, ok := s.plainText()
	if ok {
		*dst = text
	}
	return ok
}

// Texts sets *dst to the list v of texts.
func (v Value) Texts(dst *[]string) bool {
	list := []string{}
	ok := v.Elements(func(e Value) bool {
		var text string
		ok := e.Text(&text)
		list = append(list, text)
		return ok
	})
	if ok {
		*dst = list
	}
	return ok
}

// Bool sets *dst to v.
func (v Value) Bool(dst *bool) bool {
	switch string(v) {
	case "true":
		*dst = true
	case "false":
		*dst = false
	default:
		return false
	}
	return true
}

// Int sets *dst to the integer v.
func (v Value) Int(dst *int) bool {
	n, err := strconv.ParseInt(string(v), 10, strconv.IntSize)
	if err == nil {
		*dst = int(n)
	}
	return err == nil
}

// Uint sets *dst to the integer v, which has at most that many bits.
func (v Value) Uint(dst *uint64, bits int) bool {
	n, err := strconv.ParseUint(string(v), 10, bits)
	if err == nil {
		*dst = n
	}
	return err == nil
}

// Into has dst read the text v.
func (v Value) Into(dst encoding.TextUnmarshaler) bool {
	var text string
	return v.Text(&text) && dst.UnmarshalText([]byte(text)) == nil
}
