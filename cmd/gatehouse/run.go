package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"gatehouse/cmd/gatehouse/server"
	"gatehouse/config"
	"gatehouse/display"
	"gatehouse/duration"
	"gatehouse/oauth/fetch"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
	"gatehouse/storage/db"
	"gatehouse/storage/reqevent"
)

// Exit codes of every command.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// app has what every command reads and writes, so that tests run commands as the shell does.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
}

// usageError is an invalid command line; the program ends with exit code 2.
type usageError struct{ error }

// run runs the command of args and returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, getenv func(string) string) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr, getenv: getenv}
	root := a.root()
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

func (a *app) root() *cobra.Command {
	root := a.group("gatehouse", "A self-hosted OAuth 2.0 authorization server and OpenID Provider",
		"Gatehouse signs users in to apps and issues access tokens to apps and services.\n\n"+
			"Start with `gatehouse dev`: it runs the server and a sample app to sign in to on this machine.\n"+
			"Settings come from the environment (GATEHOUSE_…); flags override them. `gatehouse config print` shows them.",
		a.devCommand(), a.serveCommand(), a.migrateCommand(), a.clientCommand(), a.userCommand(), a.scopeCommand(),
		a.resourceCommand(), a.registrationTokenCommand(), a.keyCommand(), a.auditCommand(), a.backupCommand(),
		a.rekeyCommand(), a.configCommand(), a.versionCommand())
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
func (a *app) group(use, short, long string, children ...*cobra.Command) *cobra.Command {
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
			return usageError{fmt.Errorf("%s takes %s; see `%s --help`", cmd.CommandPath(), strings.Join(names, " "), cmd.CommandPath())}
		}
		return nil
	}
}

// listsSettings makes the command's help show every setting.
func listsSettings(cmd *cobra.Command) *cobra.Command {
	help := cmd.HelpFunc()
	cmd.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		for _, setting := range config.Flags() {
			if f := cmd.InheritedFlags().Lookup(setting.Name); f != nil {
				f.Hidden = setting.Hidden
			}
		}
		help(cmd, args)
	})
	return cmd
}

// settings reads the settings of the environment and this command line. Warnings go to warn. With a nil warn only
// secrets in flags and unknown names are reported, on standard error: every user of the machine can read a command
// line, and a command with a misspelt setting may work on another database than intended.
func (a *app) settings(cmd *cobra.Command, warn func(string)) (config.Config, error) {
	given := map[string]string{}
	known := map[string]bool{}
	for _, f := range config.Flags() {
		known[f.Name] = true
	}
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if known[f.Name] {
			given[f.Name] = f.Value.String()
		}
	})
	cfg, warnings, err := config.Load(a.getenv, given)
	unknown := config.UnknownSettingWarnings(os.Environ())
	if warn == nil {
		warnings, warn = config.SecretFlagWarnings(given), func(w string) { fmt.Fprintln(a.stderr, "gatehouse: warning: "+w) }
	}
	for _, w := range append(warnings, unknown...) {
		warn(w)
	}
	return cfg, err
}

// databaseSettings reads the settings as settings does, for a command that opens the database. When the root key is
// missing and the database already has one, the error does not suggest creating another.
func (a *app) databaseSettings(cmd *cobra.Command, warn func(string)) (config.Config, error) {
	cfg, err := a.settings(cmd, warn)
	var mistakes config.Errors
	if !errors.As(err, &mistakes) {
		return cfg, err
	}
	missing := slices.Index(mistakes, config.MissingSecretKey)
	if missing < 0 {
		return cfg, err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), 5*time.Second)
	defer cancel()
	store, openErr := storage.Open(ctx, storage.Options{URL: cfg.DatabaseURL, Pool: 1})
	if openErr != nil {
		return cfg, err // the database cannot be read; return the general error
	}
	used, openErr := store.Vault.HasRootKey(ctx)
	if openErr = errors.Join(openErr, store.Close(ctx)); openErr == nil && used {
		mistakes[missing] = "GATEHOUSE_SECRET_KEY is not set, and this database already has a root key; " +
			"set GATEHOUSE_SECRET_KEY or GATEHOUSE_SECRET_KEY_FILE to the key that its server uses"
	}
	return cfg, mistakes
}

// withServer opens the database of the settings for a command and closes it afterwards.
func (a *app) withServer(cmd *cobra.Command, fn func(ctx context.Context, s *server.Server) error) error {
	cfg, err := a.databaseSettings(cmd, nil)
	if err != nil {
		return err
	}
	if path, embedded := cfg.SQLitePath(); embedded && cmd.Name() != "create" && !exists(path) {
		return fmt.Errorf("no database at %s; run this where `gatehouse serve` runs, or set --database-url", path)
	}
	ctx := reqevent.With(cmd.Context(), &reqevent.Event{Actor: operator()})
	s, err := server.Open(ctx, server.Options{Config: cfg, Version: version, Notice: a.notice})
	if err != nil {
		return err
	}
	return errors.Join(fn(ctx, s), s.Close(ctx))
}

// notice prints what the operator should know, on standard error.
func (a *app) notice(message string) { fmt.Fprintln(a.stderr, "gatehouse: "+message) }

// operator returns the actor of commands in the audit log: the account on this machine.
func operator() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return "cli:" + u.Username
	}
	return "cli"
}

// printJSON writes a record. Characters that a terminal would interpret are escaped.
func (a *app) printJSON(v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := io.WriteString(a.stdout, display.EscapeLines(b.String()))
	return err
}

// table writes rows under a heading, or the message none when there are no rows.
func (a *app) table(none string, heading []string, rows [][]string) error {
	if len(rows) == 0 {
		_, err := fmt.Fprintln(a.stderr, none)
		return err
	}
	w := tabwriter.NewWriter(a.stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, strings.ToUpper(strings.Join(heading, "\t")))
	for _, row := range rows {
		cells := make([]string, len(row))
		for i := range row {
			cells[i] = display.Escape(row[i])
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	return w.Flush()
}

// checkName returns a usage error when the value of a flag is neither empty nor a name that can be shown.
func checkName(flag, value string) error {
	if value == "" {
		return nil
	}
	if err := display.CheckName(value); err != nil {
		return usageError{fmt.Errorf("%s %w", flag, err)}
	}
	return nil
}

// yesFlag adds --yes to a command that prompts before an irreversible change.
func yesFlag(cmd *cobra.Command) *bool {
	return cmd.Flags().Bool("yes", false, "do not prompt (without a terminal there is no prompt)")
}

// confirm prompts before an irreversible change when standard input is a terminal and --yes was not given. Without a
// terminal it does not prompt, so that scripts from before --yes existed continue to work.
func (a *app) confirm(yes bool, question string) error {
	f, ok := a.stdin.(*os.File)
	if yes || !ok || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	fmt.Fprintf(a.stderr, "%s [y/N] ", question)
	answer, err := bufio.NewReader(a.stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
		return errors.New("not confirmed; nothing was changed")
	}
	return nil
}

// sortByName sorts records by name without regard to case, then by id. It is done here because the order of text in
// PostgreSQL depends on the collation of the database.
func sortByName[T any](records []T, key func(T) (name, id string)) {
	slices.SortFunc(records, func(a, b T) int {
		nameA, idA := key(a)
		nameB, idB := key(b)
		return cmp.Or(strings.Compare(strings.ToLower(nameA), strings.ToLower(nameB)),
			strings.Compare(nameA, nameB), strings.Compare(idA, idB))
	})
}

// durationFlag adds a flag for a duration, which may have days and weeks.
func durationFlag(cmd *cobra.Command, name string, value time.Duration, usage string) *time.Duration {
	v := durationValue(value)
	cmd.Flags().Var(&v, name, usage)
	return (*time.Duration)(&v)
}

// durationValue implements pflag.Value with duration.Parse.
type durationValue time.Duration

// String implements pflag.Value.
func (d *durationValue) String() string { return time.Duration(*d).String() }

// Set implements pflag.Value.
func (d *durationValue) Set(s string) error {
	v, err := duration.Parse(s)
	*d = durationValue(v)
	return err
}

// Type implements pflag.Value.
func (d *durationValue) Type() string { return "duration" }

// operatorError returns the error in words for the operator. what is the record that the command is about.
func operatorError(err error, what string) error {
	var e *protocol.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, storage.ErrNotFound):
		return fmt.Errorf("there is no %s", what)
	case errors.Is(err, storage.ErrConflict):
		return fmt.Errorf("%s exists already", what)
	case errors.As(err, &e) && errors.Is(e.Err, fetch.ErrRefused):
		return errors.New(e.Code + ": " + e.Description + " If it is on your own network, name its host in " +
			"GATEHOUSE_FETCH_ALLOW_HOSTS, for this command and for the server.")
	case errors.As(err, &e) && (e.Err == nil || e.Code == protocol.InvalidClientMetadata):
		return errors.New(e.Code + ": " + e.Description)
	}
	return err
}

// formatTime returns a time for a table, "-" for nil.
func formatTime(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}
