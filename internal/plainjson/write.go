package plainjson

import (
	"encoding"
	"encoding/json"
	"strconv"
)

// An Object is a JSON object that is being written, as encoding/json writes it:
// compact, and with <, > and & escaped. The zero value is an object without
// members. Its methods but Bytes leave out what is empty, like the options
// omitempty and omitzero, unless they say otherwise.
type Object struct {
	b   []byte
	err error
}

// Bytes returns the object, and the first error of what was added.
func (o *Object) Bytes() ([]byte, error) {
	if o.err != nil {
		return nil, o.err
	}
	if len(o.b) == 0 {
		return []byte("{}"), nil
	}
	return append(o.b, '}'), nil
}

// key begins a member.
func (o *Object) key(key string) {
	if len(o.b) == 0 {
		o.b = append(o.b, '{')
	} else {
		o.b = append(o.b, ',')
	}
	o.b = append(AppendText(o.b, key), ':')
}

// Must adds a text, an empty one too.
func (o *Object) Must(key, text string) {
	o.key(key)
	o.b = AppendText(o.b, text)
}

// Text adds a text.
func (o *Object) Text(key, text string) {
	if text != "" {
		o.Must(key, text)
	}
}

// Texts adds a list of texts.
func (o *Object) Texts(key string, list []string) {
	if len(list) == 0 {
		return
	}
	o.key(key)
	for i, text := range list {
		sep := byte(',')
		if i == 0 {
			sep = '['
		}
		o.b = AppendText(append(o.b, sep), text)
	}
	o.b = append(o.b, ']')
}

// Int adds a number.
func (o *Object) Int(key string, n int) {
	if n != 0 {
		o.key(key)
		o.b = strconv.AppendInt(o.b, int64(n), 10)
	}
}

// Pointed adds the number that n points to, zero too.
func (o *Object) Pointed(key string, n *int) {
	if n != nil {
		o.key(key)
		o.b = strconv.AppendInt(o.b, int64(*n), 10)
	}
}

// True adds true.
func (o *Object) True(key string, v bool) {
	if v {
		o.key(key)
		o.b = append(o.b, "true"...)
	}
}

// Marshaled adds v as a text, also when that is empty.
func (o *Object) Marshaled(key string, v encoding.TextMarshaler) {
	text, err := v.MarshalText()
	o.fail(err)
	o.Must(key, string(text))
}

// Raw adds a value that is JSON already.
func (o *Object) Raw(key string, value []byte) {
	o.key(key)
	o.b = append(o.b, value...)
}

// Object adds an object, an empty one too.
func (o *Object) Object(key string, v *Object) {
	text, err := v.Bytes()
	o.fail(err)
	o.Raw(key, text)
}

// Objects adds a list of n objects; fill writes one of them.
func (o *Object) Objects(key string, n int, fill func(i int, e *Object)) {
	if n == 0 {
		return
	}
	o.key(key)
	for i := range n {
		sep := byte(',')
		if i == 0 {
			sep = '['
		}
		var e Object
		fill(i, &e)
		text, err := e.Bytes()
		o.fail(err)
		o.b = append(append(o.b, sep), text...)
	}
	o.b = append(o.b, ']')
}

// Any adds v as encoding/json writes it, for what is rare.
func (o *Object) Any(key string, v any) {
	text, err := json.Marshal(v)
	o.fail(err)
	o.Raw(key, text)
}

func (o *Object) fail(err error) {
	if o.err == nil {
		o.err = err
	}
}

// AppendText appends text as JSON to b.
func AppendText(b []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; !plain(c) || c == '<' || c == '>' || c == '&' {
			quoted, _ := json.Marshal(text) // texts can always be written
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, text...)
	return append(b, '"')
}
