//go:build !linux

package keeper_test

import "errors"

// stranger is for Linux, where a thread can have a user of its own.
func stranger(string, string) error { return errors.ErrUnsupported }
