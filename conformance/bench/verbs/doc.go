// Package verbs holds the benchmark of the plugin's verbs beside those of
// bridge with host-local, which most machines have: each executed as a runtime
// does, and through cnitool. See docs/performance.md.
package verbs
