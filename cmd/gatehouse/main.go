// Command gatehouse is a self-hosted OAuth 2.0 authorization server and OpenID Provider.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"gatehouse/config"
	"gatehouse/display"
	"gatehouse/storage/db"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program immediately
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Getenv)
	stop()
	os.Exit(code)
}

// Exit codes of every command.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// program has what every command reads and writes, so that tests run commands as the shell does.
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
	root := p.rootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(stderr, display.EscapeLines("gatehouse: "+err.Error()))
	if remedy := db.Remedy(err); remedy != "" {
		fmt.Fprintln(stderr, "gatehouse: "+remedy)
	}
	var usage usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}

func (p *program) rootCommand() *cobra.Command {
	root := group("gatehouse", "A self-hosted OAuth 2.0 authorization server and OpenID Provider",
		"Gatehouse signs users in to apps and issues access tokens to apps and services.\n\n"+
			"Start with `gatehouse dev`: it runs the server and a sample app to sign in to on this host.\n"+
			"Settings come from the environment (GATEHOUSE_…); flags override them. `gatehouse config print` shows them.",
		p.devCommand(), p.serveCommand(), p.migrateCommand(), p.clientCommand(), p.userCommand(), p.inviteCommand(),
		p.groupCommand(), p.attributeCommand(), p.scopeCommand(), p.resourceCommand(), p.roleCommand(),
		p.registrationTokenCommand(), p.keyCommand(), p.mailCommand(), p.auditCommand(), p.backupCommand(),
		p.importCommand(), p.rekeyCommand(), p.configCommand(), p.versionCommand())
	root.SilenceErrors, root.SilenceUsage, root.Version = true, true, version
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if unknown := (*pflag.NotExistError)(nil); errors.As(err, &unknown) {
			var names []string
			cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
			if near := display.Nearest(unknown.GetSpecifiedName(), names); near != "" {
				return usageError{fmt.Errorf("%w; did you mean --%s?", err, near)}
			}
		}
		return usageError{fmt.Errorf("%w; see `%s --help`", err, cmd.CommandPath())}
	})
	for _, f := range config.Flags() {
		root.PersistentFlags().String(f.Name, f.Default, f.Usage)
		// Every command takes every setting, but only those that start a server list them in their help.
		if f.Name != "database-url" {
			root.PersistentFlags().Lookup(f.Name).Hidden = true
		}
	}
	return root
}

// group returns a command that only has others below it.
func group(use, short, long string, children ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Long: long, DisableFlagsInUseLine: true}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			var names []string
			for _, c := range cmd.Commands() {
				names = append(names, c.Name())
			}
			if near := display.Nearest(args[0], names); near != "" {
				return usageError{fmt.Errorf("unknown command %q; did you mean %s?", args[0], near)}
			}
			return usageError{fmt.Errorf("unknown command %q; see `%s --help`", args[0], cmd.CommandPath())}
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	cmd.AddCommand(children...)
	return cmd
}

// exactArgs returns a check that the command got one argument for each name.
func exactArgs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != len(names) {
			if len(names) == 0 {
				return usageError{fmt.Errorf("%s takes no arguments; see `%s --help`", cmd.CommandPath(), cmd.CommandPath())}
			}
			return usageError{fmt.Errorf("%s takes %s; see `%s --help`",
				cmd.CommandPath(), strings.Join(names, " "), cmd.CommandPath())}
		}
		return nil
	}
}
