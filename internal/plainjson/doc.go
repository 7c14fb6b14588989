// Package plainjson reads and writes plain JSON without reflection. What
// encoding/json does with a type for the first time, it prepares: tables of the
// fields of that type and of all types within it. A process that ends after one
// document pays that for nothing.
//
// Plain is what the programs of this project write themselves: keys and texts of
// printable ASCII without escapes, integers, nesting of at most [MaxDepth]. Readers
// report anything else as not plain, and the caller then has encoding/json read the
// same document: it decides what is right, and which error is told.
package plainjson

// MaxDepth is how deep objects and lists may be nested in a plain document.
const MaxDepth = 32
