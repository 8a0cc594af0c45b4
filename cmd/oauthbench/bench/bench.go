// Package bench load-tests any OAuth 2.0 server over HTTP, which it finds by its metadata, and reports operations per
// second, latencies and processor time per operation. It also contains the bare process that the same workloads are
// compared with: what every such server must do, and nothing else. It imports no package of Gatehouse.
package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Profile has the server to measure and the clients and the user to measure with. Parts that no requested workload
// needs may be empty.
type Profile struct {
	Issuer  string `json:"issuer"`
	Service Client `json:"service"` // may use client_credentials, introspect and revoke its own tokens
	App     Client `json:"app"`     // may use authorization_code and refresh_token
	User    User   `json:"user"`
}

// Client is a confidential client that authenticates by client_secret_basic.
type Client struct {
	ID           string `json:"client_id"`
	Secret       string `json:"client_secret"`
	Scope        string `json:"scope"`
	RefreshScope string `json:"refresh_scope,omitempty"` // for grants that are refreshed; scope when empty
	RedirectURI  string `json:"redirect_uri,omitempty"`  // no request is ever sent there
}

// User signs in and consents to the app, once for each connection.
type User struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

// Options are what to measure, how long and with how much load.
type Options struct {
	Workloads   []string
	Connections []int
	Time        time.Duration // of each measurement
	Count       int           // operations of each measurement; 0: as many as the time allows
	WarmUp      time.Duration
	Rounds      int  // of each measurement, of which the median is reported
	NoDatabase  bool // the bare process has no PostgreSQL and runs only WithoutDatabase
	// The processes whose processor time is measured; 0: none. A database server's children are included.
	ServerPID, BarePID, DatabasePID int
	Progress                        func(done, total int)
}

// Bounds on a run, so that every loop ends.
const (
	maxConnections = 1024
	maxTime        = 10 * time.Minute
	maxCount       = 10_000_000
)

// Result is one workload at one number of connections.
type Result struct {
	Workload    string   `json:"workload"`
	Connections int      `json:"connections"`
	Target      Figures  `json:"target"`
	Bare        *Figures `json:"bare,omitempty"`
	Percent     float64  `json:"percent_of_bare,omitempty"` // of its operations per second
	TimesP99    float64  `json:"times_bare_p99,omitempty"`
}

// Figures are the median of the rounds. Only operations that succeeded count.
type Figures struct {
	PerSecond float64 `json:"per_second"`
	Spread    float64 `json:"spread_percent"` // between the slowest and the fastest round, of the median
	P50       float64 `json:"p50_ms"`
	P90       float64 `json:"p90_ms"`
	P99       float64 `json:"p99_ms"`
	Max       float64 `json:"max_ms"`
	Rounds    int     `json:"rounds"`
	Count     int     `json:"operations"` // of all rounds
	Errors    int     `json:"errors"`
	Error     string  `json:"first_error,omitempty"`
	// Microseconds of processor time per operation, errors included.
	ServerCPU   float64 `json:"server_cpu_us,omitempty"`
	DatabaseCPU float64 `json:"database_cpu_us,omitempty"`
}

// Names returns the names of the workloads.
func Names() []string {
	var out []string
	for _, w := range workloads {
		out = append(out, w.name)
	}
	return out
}

// Describe returns one line for each workload.
func Describe() (out string) {
	for _, w := range workloads {
		out += fmt.Sprintf("  %-20s %s\n", w.name, w.doc)
	}
	return out
}

// Check returns an error that names the first invalid option.
func (o Options) Check() error {
	for _, name := range o.Workloads {
		if !slices.Contains(Names(), name) {
			return fmt.Errorf("no workload %q; the workloads are\n%s", name, Describe())
		}
	}
	for _, n := range o.Connections {
		if n < 1 || n > maxConnections {
			return fmt.Errorf("connections must be 1 to %d", maxConnections)
		}
	}
	switch {
	case len(o.Workloads) == 0 || len(o.Connections) == 0:
		return errors.New("at least one workload and one number of connections are required")
	case o.Time <= 0 || o.Time > maxTime || o.WarmUp < 0 || o.WarmUp > maxTime:
		return fmt.Errorf("times must not exceed %s", maxTime)
	case o.Count < 0 || o.Count > maxCount:
		return fmt.Errorf("the count must not exceed %d", maxCount)
	case o.Rounds < 1 || o.Rounds > 100:
		return errors.New("rounds must be 1 to 100")
	}
	return nil
}

// Run measures every workload of the target at each number of connections and, alternating with it, of the bare process
// when there is one. When ctx ends it returns the results so far with the error.
func Run(ctx context.Context, target Profile, bare *Profile, o Options) ([]Result, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	d, err := newDriver(ctx, target, cpuMeter{o.ServerPID, o.DatabasePID})
	if err != nil {
		return nil, err
	}
	drivers := []*driver{d}
	if bare != nil {
		if d, err = newDriver(ctx, *bare, cpuMeter{o.BarePID, o.DatabasePID}); err != nil {
			return nil, err
		}
		drivers = append(drivers, d)
	}
	var results []Result
	done, total := 0, 0
	for _, name := range o.Workloads {
		total += len(o.Connections) * o.Rounds * len(o.measured(drivers, name))
	}
	for _, name := range o.Workloads {
		w := workloads[slices.IndexFunc(workloads, func(w workload) bool { return w.name == name })]
		measured := o.measured(drivers, name)
		for _, connections := range o.Connections {
			rounds := make([][]round, len(measured))
			for range o.Rounds {
				for i, d := range measured {
					r, err := d.measure(ctx, w, connections, o)
					if err != nil {
						return results, fmt.Errorf("%s on %s: %w", name, d.profile.Issuer, err)
					}
					rounds[i] = append(rounds[i], r)
					done++
					o.Progress(done, total)
				}
			}
			results = append(results, compare(name, connections, rounds))
		}
	}
	return results, nil
}

// WithoutDatabase are the workloads that the bare process supports without a PostgreSQL.
var WithoutDatabase = []string{"metadata", "jwks", "client_credentials"}

// measured returns the drivers of the target and, if it supports the workload, of the bare process.
func (o Options) measured(drivers []*driver, workload string) []*driver {
	if o.NoDatabase && !slices.Contains(WithoutDatabase, workload) {
		return drivers[:1]
	}
	return drivers
}

func compare(name string, connections int, rounds [][]round) Result {
	out := Result{Workload: name, Connections: connections, Target: figures(rounds[0])}
	if len(rounds) > 1 {
		f := figures(rounds[1])
		out.Bare = &f
		if f.PerSecond > 0 && f.P99 > 0 {
			out.Percent, out.TimesP99 = 100*out.Target.PerSecond/f.PerSecond, out.Target.P99/f.P99
		}
	}
	return out
}
