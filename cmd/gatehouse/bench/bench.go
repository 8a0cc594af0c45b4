// Package bench drives any OAuth 2.0 server over HTTP, found by its metadata, and says how many operations a second it does
// and how long they take. It also is the bare process that the same workloads are compared with: what any server of the kind
// must do and nothing else. It imports nothing of ours, as a stranger would.
package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Profile is who the workloads are done as. Parts that no chosen workload needs may be empty.
type Profile struct {
	Issuer  string `json:"issuer"`
	Machine Client `json:"machine"` // may use client_credentials, introspect and revoke its own tokens
	App     Client `json:"app"`     // may use authorization_code and refresh_token
	Person  Person `json:"person"`
}

// Client is a confidential client that authenticates by client_secret_basic.
type Client struct {
	ID           string `json:"client_id"`
	Secret       string `json:"client_secret"`
	Scope        string `json:"scope"`
	RefreshScope string `json:"refresh_scope,omitempty"` // for grants that are refreshed; scope when empty
	RedirectURI  string `json:"redirect_uri,omitempty"`  // nothing is ever sent there
}

// Person signs in and allows the app, once for each connection.
type Person struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

// Options are how long and how hard to drive.
type Options struct {
	Workloads   []string
	Connections []int
	Time        time.Duration // of each measurement
	Count       int           // operations of each measurement; 0: as many as the time allows
	WarmUp      time.Duration
	Rounds      int  // of each measurement; the median is told
	NoDatabase  bool // the ceiling has no PostgreSQL, and is measured only in what needs none
	Progress    func(now, total int64)
}

// Bounds on a run, so that no loop is endless whatever is asked for.
const (
	MaxConnections = 1024
	MaxTime        = 10 * time.Minute
	MaxCount       = 10_000_000
)

// Result is one workload at one number of connections.
type Result struct {
	Workload    string   `json:"workload"`
	Connections int      `json:"connections"`
	Target      Figures  `json:"target"`
	Ceiling     *Figures `json:"ceiling,omitempty"`
	Percent     float64  `json:"percent_of_ceiling,omitempty"` // of its operations a second
	TimesP99    float64  `json:"times_ceiling_p99,omitempty"`
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
}

// Names are the workloads, in the order in which they are run.
func Names() []string {
	var out []string
	for _, w := range workloads {
		out = append(out, w.name)
	}
	return out
}

// Describe is one line a workload.
func Describe() (out string) {
	for _, w := range workloads {
		out += fmt.Sprintf("  %-20s %s\n", w.name, w.doc)
	}
	return out
}

// Check says what is wrong with the options.
func (o Options) Check() error {
	for _, name := range o.Workloads {
		if !slices.Contains(Names(), name) {
			return fmt.Errorf("%q is not a workload; there are\n%s", name, Describe())
		}
	}
	for _, n := range o.Connections {
		if n < 1 || n > MaxConnections {
			return fmt.Errorf("connections must be 1 to %d", MaxConnections)
		}
	}
	switch {
	case len(o.Workloads) == 0 || len(o.Connections) == 0:
		return errors.New("there is nothing to do: name workloads and connections")
	case o.Time <= 0 || o.Time > MaxTime || o.WarmUp < 0 || o.WarmUp > MaxTime:
		return fmt.Errorf("times must be up to %s", MaxTime)
	case o.Count < 0 || o.Count > MaxCount:
		return fmt.Errorf("the count must be up to %d", MaxCount)
	case o.Rounds < 1 || o.Rounds > 100:
		return errors.New("rounds must be 1 to 100")
	}
	return nil
}

// Run measures every workload of the target at each number of connections and, in turn with it, of the ceiling, when there is
// one. It returns what it has when ctx ends, with the error.
func Run(ctx context.Context, target Profile, ceiling *Profile, o Options) ([]Result, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	profiles := []Profile{target}
	if ceiling != nil {
		profiles = append(profiles, *ceiling)
	}
	var drivers []*driver
	for _, p := range profiles {
		d, err := newDriver(ctx, p)
		if err != nil {
			return nil, err
		}
		drivers = append(drivers, d)
	}
	var results []Result
	total := int64(0)
	for _, name := range o.Workloads {
		total += int64(len(o.Connections) * o.Rounds * len(o.measured(drivers, name)))
	}
	done := int64(0)
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

// WithoutDatabase are the workloads that the bare process does without a PostgreSQL.
var WithoutDatabase = []string{"metadata", "jwks", "client_credentials"}

// measured are the target and, where it can do the workload, the ceiling.
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
		out.Ceiling = &f
		if f.PerSecond > 0 && f.P99 > 0 {
			out.Percent, out.TimesP99 = 100*out.Target.PerSecond/f.PerSecond, out.Target.P99/f.P99
		}
	}
	return out
}
