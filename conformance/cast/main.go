// Command cast records what a program prints as an asciicast (version 2, the format
// of asciinema): a file of text that terminals and web pages play back.
//
//	cast -o docs/demo.cast -shown 'make demo' -- bin/vmnet-demo -bin bin
//
// The program writes to a pipe; CLICOLOR_FORCE asks it for colours. Times are those
// at which its lines came, moved apart where -pace asks for it, since a demo of a
// fifth of a second cannot be followed.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "cast:", err)
		}
		os.Exit(1)
	}
}

func run(args []string) error {
	fs := flag.NewFlagSet("cast", flag.ContinueOnError)
	out := fs.String("o", "", "file to write")
	shown := fs.String("shown", "", "the command line that the recording shows")
	title := fs.String("title", "", "title of the recording")
	pace := fs.Duration("pace", 60*time.Millisecond, "least time between two lines")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *out == "" || fs.NArg() == 0 {
		return errors.New("want -o FILE and a program, as in: cast -o demo.cast -- PROGRAM")
	}
	cmd := exec.Command(fs.Arg(0), fs.Args()[1:]...)
	cmd.Env = append(os.Environ(), "CLICOLOR_FORCE=1", "NO_COLOR=")
	cmd.Stderr = os.Stderr
	r, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	rec := recorder{title: *title, pace: *pace, start: time.Now()}
	rec.typed(*shown)
	err = rec.read(r)
	if err = errors.Join(err, cmd.Wait()); err != nil {
		return err // a demo that failed is not kept
	}
	f, err := os.Create(*out)
	if err != nil {
		return err
	}
	return errors.Join(rec.write(f), f.Close())
}
