//go:build !linux

package main

import "runtime"

// enter returns the world of this machine: there are no namespaces here.
func enter(options, []string) (w *world, status int, done bool) {
	return hostWorld(runtime.GOOS + " has no network namespaces"), 0, false
}
