package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"gatehouse/cmd/oauthbench/bench"
)

func (p *program) printJSON(v any) error {
	enc := json.NewEncoder(p.stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// printTable prints a row for each result, and the first error of each on standard error.
func (p *program) printTable(results []bench.Result) error {
	has := func(matches func(bench.Result) bool) bool { return slices.ContainsFunc(results, matches) }
	compared := has(func(r bench.Result) bool { return r.Bare != nil })
	serverCPU := has(func(r bench.Result) bool { return r.Target.ServerCPU > 0 })
	databaseCPU := has(func(r bench.Result) bool { return r.Target.DatabaseCPU > 0 })
	heading := []string{"workload", "connections", "per second", "±%", "p50 ms", "p90 ms", "p99 ms", "max ms", "errors"}
	if serverCPU {
		heading = append(heading, "server µs")
	}
	if databaseCPU {
		heading = append(heading, "database µs")
	}
	if compared {
		heading = append(heading, "bare", "% of bare", "p99 times")
	}
	w := tabwriter.NewWriter(p.stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(heading, "\t"))
	for _, r := range results {
		row := figureCells(r)
		if serverCPU {
			row = append(row, fmt.Sprintf("%.0f", r.Target.ServerCPU))
		}
		if databaseCPU {
			row = append(row, fmt.Sprintf("%.0f", r.Target.DatabaseCPU))
		}
		if compared {
			row = append(row, bareCells(r)...)
		}
		fmt.Fprintln(w, strings.Join(row, "\t"))
		p.printErrors(r)
	}
	return w.Flush()
}

func figureCells(r bench.Result) []string {
	f := r.Target
	spread := "-"
	if f.Rounds > 1 {
		spread = fmt.Sprintf("%.0f", f.Spread/2)
	}
	return []string{
		r.Workload, strconv.Itoa(r.Connections), fmt.Sprintf("%.0f", f.PerSecond), spread, fmt.Sprintf("%.2f", f.P50),
		fmt.Sprintf("%.2f", f.P90), fmt.Sprintf("%.2f", f.P99), fmt.Sprintf("%.1f", f.Max), strconv.Itoa(f.Errors),
	}
}

func bareCells(r bench.Result) []string {
	if r.Bare == nil {
		return []string{"-", "-", "-"}
	}
	return []string{
		fmt.Sprintf("%.0f", r.Bare.PerSecond), fmt.Sprintf("%.0f", r.Percent), fmt.Sprintf("%.1f", r.TimesP99),
	}
}

func (p *program) printErrors(r bench.Result) {
	if r.Target.Error != "" {
		fmt.Fprintf(p.stderr, "oauthbench: %s, %d connections: %s\n", r.Workload, r.Connections, r.Target.Error)
	}
	if r.Bare != nil && r.Bare.Error != "" {
		fmt.Fprintf(p.stderr, "oauthbench: %s, %d connections, bare process: %s\n", r.Workload, r.Connections, r.Bare.Error)
	}
}
