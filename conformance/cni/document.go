package cni

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
)

// An errorDoc is the document that a verb which fails prints (section 5, Error).
type errorDoc struct {
	CNIVersion string
	Code       int
	Msg        string
	Details    string
}

// text is all that the document says to people.
func (e *errorDoc) text() string { return e.Msg + "\n" + e.Details }

// documents splits stdout into its JSON documents.
func documents(stdout []byte) ([]json.RawMessage, error) {
	var all []json.RawMessage
	for dec := json.NewDecoder(bytes.NewReader(stdout)); ; {
		var doc json.RawMessage
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, doc)
	}
}

// document returns the one object on stdout, or why there is none.
func (o *outcome) document() (object, string) {
	docs, err := documents(o.stdout)
	switch {
	case err != nil:
		return nil, "stdout is not JSON alone"
	case len(docs) == 0:
		return nil, "stdout is empty"
	case len(docs) > 1:
		return nil, fmt.Sprintf("%d JSON documents on stdout", len(docs))
	}
	var doc object
	if json.Unmarshal(docs[0], &doc) != nil || doc == nil {
		return nil, "stdout holds no JSON object"
	}
	return doc, ""
}

// errorDoc returns the error document, or why there is none.
func (o *outcome) errorDoc() (*errorDoc, string) {
	doc, why := o.document()
	if why != "" {
		return nil, why
	}
	e := &errorDoc{}
	code, isNumber := doc["code"].(float64)
	var isText bool
	e.Msg, isText = doc["msg"].(string)
	switch {
	case !isNumber || code != math.Trunc(code):
		return nil, "error without a numeric code"
	case !isText:
		return nil, "error without a msg"
	}
	e.Code = int(code)
	e.Details, _ = doc["details"].(string)
	e.CNIVersion, _ = doc["cniVersion"].(string)
	return e, ""
}

// codeText is the code of the error, for reasons: its text may change.
func (o *outcome) codeText() string {
	if e, why := o.errorDoc(); why == "" {
		return fmt.Sprintf(" with code %d", e.Code)
	}
	return ""
}

// objects returns the objects of a list.
func objects(v any) []object {
	list, _ := v.([]any)
	var all []object
	for _, e := range list {
		o, _ := e.(object)
		all = append(all, o)
	}
	return all
}

// texts returns the strings of a list.
func texts(v any) []string {
	list, _ := v.([]any)
	var all []string
	for _, e := range list {
		s, _ := e.(string)
		all = append(all, s)
	}
	return all
}
