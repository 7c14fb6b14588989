// Package e2e plays a machine on which virtual machines get their network: the
// real plugin binary, executed through libcni as a runtime does, the real shim,
// which the plugin starts, and directories of their own. The demo and the tests
// of this package, from ADD to the last trace of DEL, stand on it.
package e2e
