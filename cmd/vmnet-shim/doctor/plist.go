package doctor

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// maxDepth bounds how deep a property list is nested.
const maxDepth = 32

// parsePlist reads a property list in XML (plist(5)): dictionaries as
// map[string]any, arrays as []any, strings, int64, bool; what else there is as
// text. An empty document, as codesign prints for no entitlements, is nil.
func parsePlist(data []byte) (any, error) {
	d := xml.NewDecoder(bytes.NewReader(data))
	for {
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if start, ok := t.(xml.StartElement); ok && start.Name.Local != "plist" {
			return plistValue(d, start, 0)
		}
	}
}

func plistValue(d *xml.Decoder, start xml.StartElement, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("property list: more than %d levels", maxDepth)
	}
	switch start.Name.Local {
	case "dict":
		return plistDict(d, depth)
	case "array":
		var all []any
		err := children(d, func(s xml.StartElement) error {
			v, err := plistValue(d, s, depth+1)
			all = append(all, v)
			return err
		})
		return all, err
	}
	var text string
	if err := d.DecodeElement(&text, &start); err != nil {
		return nil, err
	}
	switch start.Name.Local {
	case "true", "false":
		return start.Name.Local == "true", nil
	case "integer":
		return strconv.ParseInt(strings.TrimSpace(text), 0, 64)
	}
	return text, nil
}

func plistDict(d *xml.Decoder, depth int) (map[string]any, error) {
	dict := map[string]any{}
	key, has := "", false
	err := children(d, func(s xml.StartElement) error {
		if s.Name.Local == "key" {
			has = true
			return d.DecodeElement(&key, &s)
		}
		if !has {
			return errors.New("property list: a value without a key")
		}
		has = false
		v, err := plistValue(d, s, depth+1)
		dict[key] = v
		return err
	})
	return dict, err
}

// children calls f for each element until the one that is open ends.
func children(d *xml.Decoder, f func(xml.StartElement) error) error {
	for {
		t, err := d.Token()
		if err != nil {
			return err
		}
		switch t := t.(type) {
		case xml.EndElement:
			return nil
		case xml.StartElement:
			if err := f(t); err != nil {
				return err
			}
		}
	}
}
