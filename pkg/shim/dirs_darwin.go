package shim

const rootRuntimeDir = "/var/run/vmnet"
