// Command vmnet-shim is the long-lived process behind the CNI plugin: it owns
// the networks and interfaces and moves their frames. It is also its operator's
// tool.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/vmnet-cni/vmnet/cmd/vmnet-shim/dropin"
)

// version is set by the linker (Makefile).
var version = "devel"

func main() {
	args, ok := dropin.Called(os.Args)
	if !ok {
		args = os.Args[1:]
	}
	os.Exit(run(args, os.Stdin, os.Stdout, os.Stderr))
}

// run runs one command and returns the exit status: 0, 1 for an error, or the
// one of the program that "run" ran.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.Execute()
	var exit exitStatus
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return int(exit)
	}
	name := "vmnet-shim"
	if len(args) > 0 && dropin.Is(args[0]) {
		name = args[0]
	}
	fmt.Fprintln(stderr, name+":", unknownCommand(root, args, err))
	return 1
}

// An exitStatus ends the program without a message.
type exitStatus int

// Error implements error.
func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

func newRoot() *cobra.Command {
	keepers := []*cobra.Command{newKeep(), newUpgrade()}
	root := &cobra.Command{
		Use:   "vmnet-shim",
		Short: "Network interfaces for virtual machines: the process behind the vmnet CNI plugin",
		Long: `vmnet-shim owns the networks and interfaces of the vmnet CNI plugin and moves
their frames. The plugin starts it when it is needed.

Its socket is shim.sock in the runtime directory: $VMNET_RUNTIME_DIR, else
/run/vmnet for root (/var/run/vmnet on macOS), else $XDG_RUNTIME_DIR/vmnet, else
/tmp/vmnet-<uid>. Its state is in $VMNET_STATE_DIR, else /var/lib/vmnet for
root, else $XDG_STATE_HOME/vmnet or ~/.local/state/vmnet.

Exit status: 0, or 1 for an error, which is one line on stderr; "doctor" ends with 1
when something is wrong, and "run" and the drop-ins that start a program with its
status. Output has colours on terminals only, and none where NO_COLOR is set; what
takes long says on stderr what it waits for, on terminals only.`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	for _, g := range []struct {
		id, title string
		commands  []*cobra.Command
	}{
		{"look", "Look:", []*cobra.Command{newList(), newInspect(), newStats(), newEvents(), newCapture(), newLeases(), newDoctor(), newVersion()}},
		{"guests", "Connect guests:", []*cobra.Command{newRun(), newQEMUArgs(), newVfkitArgs(), newKrunkitArgs(), newAnnotations()}},
		{"service", "Run the shim:", append([]*cobra.Command{newServe(), newGC(), newInstall(), newUninstall()}, keepers...)},
		{"dropins", "Act as other programs:", newDropins()},
	} {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
		for _, c := range g.commands {
			c.GroupID = g.id
		}
		root.AddCommand(g.commands...)
	}
	root.AddCommand(generators()...)
	root.SetFlagErrorFunc(flagError)
	root.DisableSuggestions = true // unknownCommand has them, on the same line
	sayArguments(root)
	return root
}
