//go:build !gendocs

package main

import "github.com/spf13/cobra"

// generators are there with the tag gendocs.
func generators() []*cobra.Command { return nil }
