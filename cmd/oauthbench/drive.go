package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/term"

	"gatehouse/cmd/oauthbench/bench"
	"gatehouse/config"
)

const driveHelp = `Load-test any OAuth 2.0 server over HTTP and report operations per second and latencies.

  oauthbench prepare > profile.json
  oauthbench --profile profile.json --workload client_credentials,refresh --time 5s

The server is found by its metadata. The profile has its issuer and the clients and the user to measure with:
"oauthbench prepare" creates them in the database of a Gatehouse; for another server write the profile by hand. The
workloads create real tokens, grants and audit rows: measure a server that has no other load. Errors are not counted as
operations. The rate limits of the server must not be reached: start Gatehouse with GATEHOUSE_RATE_LIMITS=off or higher
limits.

With --bare each measurement is followed by the same of a bare process on this host, which does only the minimum
work of an authorization server, in the same PostgreSQL (GATEHOUSE_DATABASE_URL, with a role that may create a
schema, which is dropped afterwards), and the table has the ratio. Without a PostgreSQL only
%s are compared.

The ratio of throughputs depends on the load generator, which shares this host; processor time per operation does
not. With --server-pid and --database-pid (Linux) the table has the microseconds of both processes per operation. For
PostgreSQL pass the process ID of the postmaster, the first line of postmaster.pid; its children are included.

Workloads:
%s
Flags:
`

// driveFlags are the flags of oauthbench.
type driveFlags struct {
	profile, workloads, connections string
	bare, json                      bool
	options                         bench.Options
}

func (p *program) parseDriveFlags(args []string) (*driveFlags, error) {
	f := &driveFlags{}
	flags := flag.NewFlagSet("oauthbench", flag.ContinueOnError)
	flags.StringVar(&f.profile, "profile", "", "`file` with the profile as JSON, - for standard input")
	flags.StringVar(&f.workloads, "workload",
		"metadata,jwks,client_credentials,introspection_hot,introspection_spread,revocation,refresh,code", "what to measure")
	flags.StringVar(&f.connections, "connections", "1,8,32", "numbers of concurrent requests, measured separately")
	flags.DurationVar(&f.options.Time, "time", 3*time.Second, "maximum time of each measurement")
	flags.IntVar(&f.options.Count, "count", 0, "maximum number of operations of each measurement; 0: no maximum")
	flags.DurationVar(&f.options.WarmUp, "warm-up", time.Second, "load before each measurement, which is not counted")
	flags.IntVar(&f.options.Rounds, "rounds", 3, "number of measurements of which the median is reported")
	flags.IntVar(&f.options.ServerPID, "server-pid", 0, "process ID of the server, to report its processor time")
	flags.IntVar(&f.options.DatabasePID, "database-pid", 0, "process ID of the database, to report its processor time")
	flags.BoolVar(&f.bare, "bare", false, "compare with a bare process")
	flags.BoolVar(&f.json, "json", false, "print JSON")
	help := fmt.Sprintf(driveHelp, strings.Join(bench.WithoutDatabase, ", "), bench.Describe())
	if err := p.parseFlags(flags, args, help); err != nil {
		return nil, err
	}
	f.options.Workloads = strings.Split(f.workloads, ",")
	for n := range strings.SplitSeq(f.connections, ",") {
		i, err := strconv.Atoi(n)
		if err != nil {
			return nil, usageError{fmt.Errorf("--connections: %q is not a number", n)}
		}
		f.options.Connections = append(f.options.Connections, i)
	}
	if f.profile == "" {
		return nil, usageError{errors.New(`--profile is required; create one with "oauthbench prepare"`)}
	}
	if err := f.options.Check(); err != nil {
		return nil, usageError{err}
	}
	return f, nil
}

// drive measures the server of the profile and prints the results.
func (p *program) drive(ctx context.Context, args []string) error {
	f, err := p.parseDriveFlags(args)
	if err != nil {
		return err
	}
	target, err := p.readProfile(f.profile)
	if err != nil {
		return err
	}
	var bare *bench.Profile
	if f.bare {
		url, err := p.bareDatabase()
		if err != nil {
			return err
		}
		f.options.NoDatabase = url == ""
		child, err := p.startBare(ctx, url)
		if err != nil {
			return err
		}
		defer child.stop()
		bare, f.options.BarePID = &child.profile, child.pid(f.options)
	}
	f.options.Progress = p.progress()
	results, err := bench.Run(ctx, target, bare, f.options)
	for _, r := range results {
		if r.Target.Count == 0 && err == nil {
			err = fmt.Errorf("no operation of %s succeeded: %s", r.Workload, r.Target.Error)
		}
	}
	if f.json {
		return errors.Join(p.printJSON(results), err)
	}
	return errors.Join(p.printTable(results), err)
}

// bareDatabase returns the URL of the PostgreSQL for the bare process, "" without one.
func (p *program) bareDatabase() (string, error) {
	cfg, _, err := config.Load(p.getenv, nil)
	if err != nil {
		return "", err
	}
	if _, embedded := cfg.SQLitePath(); embedded {
		fmt.Fprintln(p.stderr, "oauthbench: GATEHOUSE_DATABASE_URL is not a PostgreSQL for the bare process; only "+
			strings.Join(bench.WithoutDatabase, ", ")+" are compared")
		return "", nil
	}
	return cfg.DatabaseURL, nil
}

func (p *program) readProfile(path string) (profile bench.Profile, err error) {
	var b []byte
	if path == "-" {
		b, err = io.ReadAll(io.LimitReader(p.stdin, 1<<20))
	} else {
		b, err = os.ReadFile(path)
	}
	if err != nil {
		return profile, err
	}
	if err := json.Unmarshal(b, &profile); err != nil || profile.Issuer == "" {
		return profile, fmt.Errorf("%s is not a profile; it needs the members issuer, service, app and user, "+
			`as "oauthbench prepare" prints them`, path)
	}
	return profile, nil
}

// progress returns a function that shows on a terminal how many measurements are done.
func (p *program) progress() func(done, total int) {
	f, ok := p.stderr.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return func(int, int) {}
	}
	return func(done, total int) {
		fmt.Fprintf(f, "\rmeasured %d of %d ", done, total)
		if done == total {
			fmt.Fprintln(f)
		}
	}
}
