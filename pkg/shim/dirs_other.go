//go:build !darwin

package shim

const rootRuntimeDir = "/run/vmnet"
