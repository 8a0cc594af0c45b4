package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/cmd/gatehouse/bench"
	"gatehouse/cmd/gatehouse/server"
	"gatehouse/identity"
	"gatehouse/oauth"
	"gatehouse/oauth/credential"
	"gatehouse/storage"
)

func (a *app) benchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "bench", Short: "Measure how fast an OAuth server is",
		Long: "Drive an OAuth server over HTTP, whoever's it is, and tell how many operations a second it does and how long they take. The server is found by its\n" +
			"metadata. The profile says who to be: `gatehouse bench prepare` makes one for the server of these settings; for another server write it by hand.\n" +
			"It makes real tokens, grants and audit rows, as fast as it can: measure a server that nobody else uses. What fails is never counted as done.\n\n" +
			"With --ceiling each measurement is followed by the same of a bare process on this machine that does the unavoidable alone, in the same PostgreSQL\n" +
			"(GATEHOUSE_DATABASE_URL, by a role that may create a schema; it is removed afterwards), and the table has the ratio. Without a PostgreSQL only\n" +
			strings.Join(bench.WithoutDatabase, ", ") + " are compared.\n\n" +
			"The rate limits of the server must let it through: start that with GATEHOUSE_RATE_LIMITS=off, or with wide ones.\n\nWorkloads:\n" + bench.Describe(),
		Example: "  gatehouse bench prepare > profile.json\n" +
			"  gatehouse bench --profile profile.json --workload client_credentials,refresh --time 5s",
		Args: exactArgs(),
	}
	flags := cmd.Flags()
	profile := flags.String("profile", "", "file with the profile as JSON, - for standard input")
	workload := flags.StringSlice("workload", []string{"metadata", "jwks", "client_credentials", "introspection_hot", "introspection_spread", "revocation", "refresh", "code"}, "what to measure")
	connections := flags.StringSlice("connections", []string{"1", "8", "32"}, "how many requests at once, each number by itself")
	var o bench.Options
	flags.DurationVar(&o.Time, "time", 3*time.Second, "how long each measurement lasts at most")
	flags.IntVar(&o.Count, "count", 0, "how many operations each measurement has at most; 0: as many as the time allows")
	flags.DurationVar(&o.WarmUp, "warm-up", time.Second, "how long to drive before each measurement, which is not counted")
	flags.IntVar(&o.Rounds, "rounds", 3, "how often each is measured; the median is told")
	ceiling := flags.Bool("ceiling", false, "compare with a bare process")
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		o.Workloads = *workload
		for _, n := range *connections {
			i, err := strconv.Atoi(n)
			if err != nil {
				return usageError{fmt.Errorf("--connections: %q is not a number", n)}
			}
			o.Connections = append(o.Connections, i)
		}
		if *profile == "" {
			return usageError{errors.New("say who to be with --profile; `gatehouse bench prepare > profile.json` makes one")}
		}
		if err := o.Check(); err != nil {
			return usageError{err}
		}
		target, err := a.readProfile(*profile)
		if err != nil {
			return err
		}
		show, end := a.progress("measuring")
		o.Progress = show
		var bare *bench.Profile
		if *ceiling {
			cfg, err := a.settings(cmd, nil)
			if err != nil {
				return err
			}
			url := cfg.DatabaseURL
			if _, o.NoDatabase = cfg.SQLitePath(); o.NoDatabase {
				url = ""
				fmt.Fprintln(a.stderr, "gatehouse: GATEHOUSE_DATABASE_URL names no PostgreSQL for the bare process: compared are only "+strings.Join(bench.WithoutDatabase, ", "))
			}
			p, stop, err := a.startCeiling(cmd, url)
			if err != nil {
				return err
			}
			defer stop()
			bare = &p
		}
		results, err := bench.Run(cmd.Context(), target, bare, o)
		end()
		for _, r := range results {
			if r.Target.Count == 0 && err == nil {
				err = fmt.Errorf("of %s nothing succeeded: %s", r.Workload, r.Target.Error)
			}
		}
		if *asJSON {
			return errors.Join(a.printJSON(results), err)
		}
		return errors.Join(a.benchTable(results), err)
	}
	cmd.AddCommand(a.benchPrepare(), a.benchCeiling())
	return cmd
}

func (a *app) readProfile(path string) (p bench.Profile, err error) {
	var b []byte
	if path == "-" {
		b, err = io.ReadAll(io.LimitReader(a.stdin, 1<<20))
	} else {
		b, err = os.ReadFile(path)
	}
	if err != nil {
		return p, err
	}
	if err := json.Unmarshal(b, &p); err != nil || p.Issuer == "" {
		return p, fmt.Errorf("%s is not a profile: it needs issuer, machine, app and person, as `gatehouse bench prepare` prints them", path)
	}
	return p, nil
}

func (a *app) benchTable(results []bench.Result) error {
	heading := []string{"workload", "connections", "per second", "±%", "p50 ms", "p90 ms", "p99 ms", "max ms", "errors", "ceiling", "% of it", "p99 times"}
	compared := slices.ContainsFunc(results, func(r bench.Result) bool { return r.Ceiling != nil })
	var rows [][]string
	for _, r := range results {
		row := []string{r.Workload, strconv.Itoa(r.Connections), fmt.Sprintf("%.0f", r.Target.PerSecond), spread(r.Target),
			fmt.Sprintf("%.2f", r.Target.P50), fmt.Sprintf("%.2f", r.Target.P90), fmt.Sprintf("%.2f", r.Target.P99), fmt.Sprintf("%.1f", r.Target.Max), strconv.Itoa(r.Target.Errors)}
		if r.Ceiling != nil {
			row = append(row, fmt.Sprintf("%.0f", r.Ceiling.PerSecond), fmt.Sprintf("%.0f", r.Percent), fmt.Sprintf("%.1f", r.TimesP99))
		} else if compared {
			row = append(row, "-", "-", "-")
		}
		rows = append(rows, row)
		if r.Target.Error != "" {
			fmt.Fprintf(a.stderr, "gatehouse: %s, %d connections: %s\n", r.Workload, r.Connections, r.Target.Error)
		}
		if r.Ceiling != nil && r.Ceiling.Error != "" {
			fmt.Fprintf(a.stderr, "gatehouse: %s, %d connections, bare process: %s\n", r.Workload, r.Connections, r.Ceiling.Error)
		}
	}
	if !compared {
		heading = heading[:9]
	}
	return a.table("nothing was measured", heading, rows)
}

// spread is nothing to tell of one round.
func spread(f bench.Figures) string {
	if f.Rounds < 2 {
		return "-"
	}
	return fmt.Sprintf("%.0f", f.Spread/2)
}

// startCeiling starts the bare process with the PostgreSQL of that URL, or none, for a fair share of the machine as a process of its own.
func (a *app) startCeiling(cmd *cobra.Command, url string) (p bench.Profile, stop func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return p, nil, err
	}
	ctx, cancel := context.WithCancel(cmd.Context())
	child := exec.CommandContext(ctx, self, "bench", "ceiling") //nolint:gosec // this very program
	child.Args[0] = "gatehouse"
	child.Stderr = a.stderr
	child.Cancel = func() error { return child.Process.Signal(os.Interrupt) }
	child.WaitDelay = 15 * time.Second
	out, err := child.StdoutPipe()
	var in io.WriteCloser
	if err == nil {
		in, err = child.StdinPipe()
	}
	if err == nil {
		err = child.Start()
	}
	if err == nil {
		_, err = io.WriteString(in, url+"\n") // it has a password in it, which no argument should
	}
	if err != nil {
		cancel()
		return p, nil, err
	}
	stop = func() {
		cancel()
		_ = in.Close()
		_ = child.Wait() // it was told to end
	}
	if err := json.NewDecoder(out).Decode(&p); err != nil {
		stop()
		return p, nil, errors.New("the bare process did not start")
	}
	return p, stop, nil
}

// benchCeiling is the bare process. It reads the URL of its PostgreSQL from standard input, tells its profile on standard output
// and serves until it is interrupted or standard input ends, as it does when whoever started it is gone.
func (a *app) benchCeiling() *cobra.Command {
	return &cobra.Command{
		Use: "ceiling", Short: "Be the bare process of --ceiling", Hidden: true, Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			in := bufio.NewReader(io.LimitReader(a.stdin, 4<<10))
			url, err := in.ReadString('\n')
			if err != nil {
				return usageError{errors.New("`gatehouse bench --ceiling` starts this by itself")}
			}
			listener, err := (&net.ListenConfig{}).Listen(cmd.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			ctx, cancel := context.WithCancel(cmd.Context())
			defer cancel()
			go func() {
				_, _ = io.Copy(io.Discard, in)
				cancel()
			}()
			return bench.Ceiling(ctx, listener, strings.TrimSpace(url), func(p bench.Profile) error { return a.printJSON(p) })
		},
	}
}

func (a *app) benchPrepare() *cobra.Command {
	return &cobra.Command{
		Use: "prepare", Short: "Make clients and a person to measure with, and print their profile",
		Long: "Make a machine client, an app and a person in the database of these settings, and print them, with their secrets, as the profile that `gatehouse bench` takes.\n" +
			"Take them away afterwards: `gatehouse client delete ID` and `gatehouse user delete USER` with the names in the profile,\n" +
			"and `gatehouse scope delete bench`. The audit rows of what was measured stay, like all others. The settings must be those of the server: the\n" +
			"profile has GATEHOUSE_ISSUER.",
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withServer(cmd, func(ctx context.Context, s *server.Server) error {
				p, err := prepareBench(ctx, s)
				if err != nil {
					return err
				}
				return a.printJSON(p)
			})
		},
	}
}

func prepareBench(ctx context.Context, s *server.Server) (p bench.Profile, err error) {
	p = bench.Profile{Issuer: s.Config.Issuer, Person: bench.Person{Username: "bench-" + strings.ToLower(credential.Random(8)), Password: credential.Random(20)}}
	scope := storage.Scope{Name: "bench", Description: "Measure this server", CreatedAt: s.Store.Now()}
	if err := s.Store.CreateScope(ctx, scope, storage.Event{Type: storage.ScopeCreated}); err != nil && !errors.Is(err, storage.ErrConflict) {
		return p, err
	}
	if _, err := s.Users.Create(ctx, identity.NewUser{Username: p.Person.Username, Email: p.Person.Username + "@example.com", Password: p.Person.Password}); err != nil {
		return p, err
	}
	machine, _, err := s.OAuth.CreateClient(ctx, oauth.Metadata{ClientName: "Bench machine", GrantTypes: oauth.List{"client_credentials"}, Scope: oauth.Words{"bench"}})
	if err != nil {
		return p, err
	}
	app, _, err := s.OAuth.CreateClient(ctx, oauth.Metadata{
		ClientName: "Bench app", RedirectURIs: oauth.List{"https://bench.invalid/callback"}, GrantTypes: oauth.List{"authorization_code", "refresh_token"},
		Scope: oauth.Words{"openid", "offline_access", "bench"}, IDTokenAlg: "ES256",
	})
	if err != nil {
		return p, err
	}
	p.Machine = bench.Client{ID: machine.ClientID, Secret: machine.ClientSecret, Scope: "bench"}
	p.App = bench.Client{ID: app.ClientID, Secret: app.ClientSecret, Scope: "openid offline_access bench", RefreshScope: "offline_access bench", RedirectURI: "https://bench.invalid/callback"}
	return p, nil
}
