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
}

// errorsAllowed is when a measurement ends early: a server that refuses everything is not worth more.
const errorsAllowed = 1000

// measure warms up and then does the workload's operation on so many connections at once, each one after the other.
func (d *driver) measure(ctx context.Context, w workload, connections int, o Options) (round, error) {
	callers := make([]*caller, connections)
	for i := range callers {
		callers[i] = d.newCaller()
	}
	defer func() {
		for _, c := range callers {
			c.transport.CloseIdleConnections()
		}
	}()
	most := MaxCount
	if o.Count > 0 {
		most = o.Count
	}
	operations, ready, err := w.prepare(ctx, d, callers, most)
	if err != nil {
		return round{}, err
	}
	if ready > 0 {
		most = min(most, ready)
	}
	if w.again {
		warm, err := drive(ctx, operations, o.WarmUp, MaxCount)
		if err == nil && len(warm.latency) == 0 {
			err = warm.first // nothing succeeds
		}
		if err != nil {
			return round{}, err
		}
	}
	r, err := drive(ctx, operations, o.Time, most)
	if err == nil && errors.Is(r.first, errLimited) {
		err = r.first
	}
	return r, err
}

// drive calls each operation from a goroutine of its own until the time is up or so many are done in all.
func drive(ctx context.Context, operations []operation, limit time.Duration, most int) (round, error) {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var left, failures atomic.Int64
	left.Store(int64(most))
	rounds := make([]round, len(operations))
	var running sync.WaitGroup
	began := time.Now()
	for i, one := range operations {
		running.Go(func() {
			r := &rounds[i]
			for limited.Err() == nil && left.Add(-1) >= 0 && failures.Load() < errorsAllowed {
				at := time.Now()
				err := one(ctx) // not the limited context: an operation that has begun counts, or the last ones would all fail
				switch took := time.Since(at); {
				case err == nil:
					r.latency = append(r.latency, took)
				case ctx.Err() != nil:
					return
				default:
					failures.Add(1)
					if errors.Is(err, errLimited) {
						failures.Add(errorsAllowed)
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
	all := round{took: time.Since(began)}
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

// at is the latency in milliseconds that so many in a hundred operations do not exceed.
func (r round) at(percent int) float64 {
	if len(r.latency) == 0 {
		return 0
	}
	return r.latency[(len(r.latency)-1)*percent/100].Seconds() * 1000
}

// figures takes the median of the rounds, of each figure by itself.
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
	f.P50 = median(func(r round) float64 { return r.at(50) })
	f.P90 = median(func(r round) float64 { return r.at(90) })
	f.P99 = median(func(r round) float64 { return r.at(99) })
	f.Max = median(func(r round) float64 { return r.at(100) })
	return f
}
