package bench

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// round is one measurement.
type round struct {
	took    time.Duration
	latency []time.Duration // of each operation that succeeded, sorted
	errors  int
	first   error

	serverCPU, databaseCPU float64 // microseconds per operation
}

// maxErrors is the number of errors that ends a measurement early.
const maxErrors = 1000

// measure warms up and then runs the workload's operation on a number of connections concurrently, on each connection
// one after another.
func (d *driver) measure(ctx context.Context, w workload, connections int, o Options) (round, error) {
	open := make([]*connection, connections)
	for i := range open {
		open[i] = d.connect()
	}
	defer func() {
		for _, c := range open {
			c.transport.CloseIdleConnections()
		}
	}()
	maximum := maxCount
	if o.Count > 0 {
		maximum = o.Count
	}
	operations, prepared, err := w.prepare(ctx, d, open, maximum)
	if err != nil {
		return round{}, err
	}
	if prepared > 0 {
		maximum = min(maximum, prepared)
	}
	if w.repeatable {
		warm, err := drive(ctx, operations, o.WarmUp, maxCount)
		if err == nil && len(warm.latency) == 0 {
			err = warm.first // no operation succeeds
		}
		if err != nil {
			return round{}, err
		}
	}
	before, err := d.cpu.read()
	if err != nil {
		return round{}, err
	}
	r, err := drive(ctx, operations, o.Time, maximum)
	if err == nil && errors.Is(r.first, errLimited) {
		err = r.first
	}
	if err != nil {
		return r, err
	}
	r.serverCPU, r.databaseCPU, err = d.cpu.perOperation(ctx, before, len(r.latency)+r.errors)
	return r, err
}

// drive calls each operation repeatedly from its own goroutine until the time is up or the maximum number of calls is
// reached.
func drive(ctx context.Context, operations []operation, limit time.Duration, maximum int) (round, error) {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var left, failures atomic.Int64
	left.Store(int64(maximum))
	rounds := make([]round, len(operations))
	var running sync.WaitGroup
	start := time.Now()
	for i, run := range operations {
		running.Go(func() {
			r := &rounds[i]
			for limited.Err() == nil && left.Add(-1) >= 0 && failures.Load() < maxErrors {
				began := time.Now()
				err := run(ctx) // not the limited context: the last operations would all fail
				switch took := time.Since(began); {
				case err == nil:
					r.latency = append(r.latency, took)
				case ctx.Err() != nil:
					return
				default:
					failures.Add(1)
					if errors.Is(err, errLimited) {
						failures.Add(maxErrors)
					}
					r.errors++
					if r.first == nil {
						r.first = err
					}
				}
			}
		})
	}
	running.Wait()
	all := round{took: time.Since(start)}
	for _, r := range rounds {
		all.latency = append(all.latency, r.latency...)
		all.errors += r.errors
		if all.first == nil {
			all.first = r.first
		}
	}
	slices.Sort(all.latency)
	return all, ctx.Err()
}

func (r round) perSecond() float64 { return float64(len(r.latency)) / r.took.Seconds() }

// percentile returns the latency in milliseconds that a percentage of the operations does not exceed.
func (r round) percentile(percent int) float64 {
	if len(r.latency) == 0 {
		return 0
	}
	return r.latency[(len(r.latency)-1)*percent/100].Seconds() * 1000
}

// figures returns the median of the rounds, for each figure separately.
func figures(rounds []round) Figures {
	median := func(of func(round) float64) float64 {
		var all []float64
		for _, r := range rounds {
			all = append(all, of(r))
		}
		slices.Sort(all)
		return (all[(len(all)-1)/2] + all[len(all)/2]) / 2
	}
	f := Figures{PerSecond: median(round.perSecond), Rounds: len(rounds)}
	low, high := rounds[0].perSecond(), rounds[0].perSecond()
	for _, r := range rounds {
		low, high = min(low, r.perSecond()), max(high, r.perSecond())
		f.Count += len(r.latency)
		f.Errors += r.errors
		if f.Error == "" && r.first != nil {
			f.Error = r.first.Error()
		}
	}
	if f.PerSecond > 0 {
		f.Spread = 100 * (high - low) / f.PerSecond
	}
	f.P50 = median(func(r round) float64 { return r.percentile(50) })
	f.P90 = median(func(r round) float64 { return r.percentile(90) })
	f.P99 = median(func(r round) float64 { return r.percentile(99) })
	f.Max = median(func(r round) float64 { return r.percentile(100) })
	f.ServerCPU = median(func(r round) float64 { return r.serverCPU })
	f.DatabaseCPU = median(func(r round) float64 { return r.databaseCPU })
	return f
}
