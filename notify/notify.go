// Package notify sends deliveries: messages that clients must get even if the process crashes or the client is down for
// a while. A delivery is a row, inserted in the transaction of the change that it reports; this package decides when it
// is attempted, retried and abandoned. What a message contains is decided by the functions that are passed to it.
package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"gatehouse/oauth/fetch"
	"gatehouse/storage"
)

const (
	maxConcurrent = 64
	batchSize     = 20
	pollInterval  = 100 * time.Millisecond
	queryTimeout  = 10 * time.Second
	// leaseDuration is longer than any attempt takes.
	leaseDuration = 30 * time.Second
	// lifetime is how long a client can be down and still get its messages.
	lifetime   = 24 * time.Hour
	maxBackoff = time.Hour
	// minAttempts is the number of attempts before a delivery is abandoned, even by a process with a clock that is ahead.
	minAttempts = 12
)

// Kind is a kind of delivery.
type Kind struct {
	// Build returns the URL and the form of a message to the client. An empty URL means that the client no longer wants
	// such messages.
	Build func(ctx context.Context, c *storage.Client, d storage.Delivery) (url string, form url.Values, err error)

	FailedMessage string // of the log, for a failed attempt
}

// Sender sends deliveries. Every process has one.
type Sender struct {
	Store *storage.Store
	Fetch *fetch.Client
	Kinds map[string]Kind // by the kind of the delivery
	Log   *slog.Logger
}

// Send sends all deliveries that are due and returns when none is left. Several processes may send concurrently. A
// client that responds slowly uses one slot of many, so that it does not delay the others.
func (s *Sender) Send(ctx context.Context) error {
	var wait sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	slots := make(chan struct{}, maxConcurrent)
	for {
		select {
		case slots <- struct{}{}: // wait until one is free
		case <-ctx.Done():
			wait.Wait() // every attempt stops with the context
			return errors.Join(errs...)
		}
		free := 1
		for more := true; more && free < batchSize; {
			select {
			case slots <- struct{}{}:
				free++
			default:
				more = false
			}
		}
		limited, cancel := context.WithTimeout(ctx, queryTimeout)
		due, err := s.Store.LeaseDeliveries(limited, false, free, leaseDuration)
		cancel()
		for range free - len(due) {
			<-slots
		}
		for _, d := range due {
			wait.Go(func() {
				err := s.attempt(ctx, d)
				<-slots
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			})
		}
		if err != nil || len(due) == 0 && len(slots) == 0 {
			wait.Wait()
			return errors.Join(append(errs, err)...)
		}
		if len(due) < free {
			select { // all due deliveries are being sent: poll again
			case <-time.After(pollInterval):
			case <-ctx.Done():
			}
		}
	}
}

// attempt makes one attempt within its lease. A failed delivery is retried for a day with exponential backoff.
func (s *Sender) attempt(parent context.Context, d storage.Delivery) error {
	ctx, cancel := context.WithTimeout(parent, leaseDuration)
	defer cancel()
	kind, ok := s.Kinds[d.Kind]
	if !ok {
		return fmt.Errorf("unknown kind of delivery: %q", d.Kind)
	}
	c, err := s.Store.Client(ctx, d.ClientID)
	if errors.Is(err, storage.ErrNotFound) || err == nil && c.DisabledAt != nil {
		return s.abandonUnwanted(ctx, d)
	}
	if err != nil {
		return err
	}
	target, form, failure := kind.Build(ctx, c, d)
	if failure == nil && target == "" {
		return s.abandonUnwanted(ctx, d)
	}
	if failure == nil {
		failure = s.post(ctx, target, form)
	}
	if parent.Err() != nil {
		return nil //nolint:nilerr // the process stops; another attempt follows when the lease expires
	}
	attempts := map[string]any{"attempts": d.Attempts}
	if failure == nil {
		return s.Store.FinishDelivery(ctx, d, attempts)
	}
	s.Log.WarnContext(ctx, kind.FailedMessage, slog.String("client_id", d.ClientID), slog.Int64("attempt", d.Attempts),
		slog.Any("cause", failure))
	now := s.Store.Now()
	if now.Sub(d.CreatedAt) >= lifetime && d.Attempts >= minAttempts {
		return s.Store.AbandonDelivery(ctx, d, attempts)
	}
	return s.Store.PostponeDelivery(ctx, d.ID, now.Add(backoff(d.Attempts)))
}

// abandonUnwanted removes a delivery without sending it.
func (s *Sender) abandonUnwanted(ctx context.Context, d storage.Delivery) error {
	return s.Store.AbandonDelivery(ctx, d, map[string]any{"reason": "the client no longer accepts these messages"})
}

func (s *Sender) post(ctx context.Context, target string, form url.Values) error {
	status, err := s.Fetch.Post(ctx, target, form)
	if err != nil {
		return err
	}
	if status != http.StatusOK && status != http.StatusNoContent {
		return fmt.Errorf("responded with status %d", status)
	}
	return nil
}

// backoff returns the delay after a failed attempt: 1, 2, 4 … seconds, at most an hour.
func backoff(attempts int64) time.Duration {
	if attempts > 12 {
		return maxBackoff
	}
	return min(time.Second<<max(0, attempts-1), maxBackoff)
}
