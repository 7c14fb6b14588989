//go:build amd64 || arm64

package framework

// libraries returns where macOS has the symbols. The files are in dyld's shared
// cache only: they are not to be looked for on disk.
func libraries() (map[string]string, error) {
	return map[string]string{
		inVmnet:  "/System/Library/Frameworks/vmnet.framework/vmnet",
		inSystem: "/usr/lib/libSystem.B.dylib",
		inCF:     "/System/Library/Frameworks/CoreFoundation.framework/CoreFoundation",
	}, nil
}
