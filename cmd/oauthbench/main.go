// Command oauthbench load-tests any OAuth 2.0 server over HTTP and reports operations per second, latencies and
// processor time per operation. It is a separate program, so that the server does not contain it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program immediately
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Getenv)
	stop()
	os.Exit(code)
}

// program has what the commands read and write, so that tests run them as the shell does.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
}

// usageError is an invalid command line; the program ends with exit code 2.
type usageError struct{ error }

// run runs the command of args and returns the exit code.
func run(
	ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, getenv func(string) string,
) int {
	p := &program{stdin: stdin, stdout: stdout, stderr: stderr, getenv: getenv}
	command := p.drive
	if len(args) > 0 {
		switch args[0] {
		case "prepare":
			command, args = p.prepare, args[1:]
		case bareCommand:
			command, args = p.serveBare, args[1:]
		}
	}
	err := command(ctx, args)
	var usage usageError
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.As(err, &usage):
		fmt.Fprintln(stderr, "oauthbench:", err)
		return exitUsage
	}
	fmt.Fprintln(stderr, "oauthbench:", err)
	return exitFailed
}

// parseFlags parses the arguments of a command, none of which takes more than flags.
func (p *program) parseFlags(flags *flag.FlagSet, args []string, help string) error {
	flags.SetOutput(io.Discard)
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		flags.SetOutput(p.stdout)
		fmt.Fprint(p.stdout, help)
		flags.PrintDefaults()
		return err
	}
	if err == nil && flags.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if err != nil {
		return usageError{fmt.Errorf("%w; see `oauthbench --help`", err)}
	}
	return nil
}
