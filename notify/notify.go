// Package notify sends deliveries: messages that clients and users must get even if the process crashes or the receiver
// is down for a while. A delivery is a row, inserted in the transaction of the change that it reports; this package
// decides when it is attempted, retried and abandoned. What a message contains and how one attempt is made is decided
// by the functions that are passed to it.
package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"gatehouse/lograte"
	"gatehouse/storage"
)

const (
	batchSize    = 20
	pollInterval = 100 * time.Millisecond
	queryTimeout = 10 * time.Second
	// leaseDuration is longer than any attempt takes.
	leaseDuration = 30 * time.Second
	// minAttempts is the number of attempts before a delivery is abandoned, even by a process with a clock that is ahead.
	minAttempts = 12
)

// Kind is a kind of delivery.
type Kind struct {
	// Deliver makes one attempt within the time of its context. It returns an Abandoned when no other attempt must follow.
	Deliver func(ctx context.Context, d storage.Delivery) error
	// Recipient returns the recipient of a delivery. Deliveries to the same recipient are sent one after another, in the
	// order in which they were queued; those to "" in any order. Nil: "" for all.
	Recipient func(d storage.Delivery) string

	FailedMessage string        // of the log, for a failed attempt
	Lifetime      time.Duration // how long the receiver can be down and still gets its messages
	MaxBackoff    time.Duration
}

// Abandoned is the error of a delivery that is not attempted again.
type Abandoned struct {
	Reason string
	// PauseAddress is the address that rejected an email permanently: none is sent to it for a day.
	PauseAddress string
}

// Error returns the reason.
func (a *Abandoned) Error() string { return a.Reason }

// Postponed is the error of a delivery that must not be attempted before a time.
type Postponed struct{ Until time.Time }

// Error implements error.
func (p *Postponed) Error() string { return "not before " + p.Until.UTC().Format(time.RFC3339) }

// maxPostponement is the longest delay before it is checked whether a delivery is still postponed.
const maxPostponement = time.Hour

// pauseDuration is how long an address is paused that rejected an email.
const pauseDuration = 24 * time.Hour

// Sender sends deliveries. Every process has one for emails and one for all others, so that neither delays the other.
type Sender struct {
	Store      *storage.Store
	Mails      bool            // whether it sends emails
	Kinds      map[string]Kind // by the kind of the delivery
	Concurrent int             // maximum number of attempts at the same time
	Log        *slog.Logger

	turns    turns
	mu       sync.Mutex
	failures lograte.Limiter // of mails: while their server is unreachable, all of them fail
}

// logFailure logs a failed attempt, of emails one a minute.
func (s *Sender) logFailure(ctx context.Context, message string, d storage.Delivery, cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.Mails || s.failures.Allow() {
		s.Log.WarnContext(ctx, message, receiver(d), slog.Int64("attempt", d.Attempts), slog.Any("cause", cause))
	}
}

// logSuccess logs that emails are delivered again.
func (s *Sender) logSuccess(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failures.Reset() {
		s.Log.InfoContext(ctx, "email delivery resumed")
	}
}

// Send sends all deliveries that are due and returns when none is left. Several processes may send concurrently. A
// client that responds slowly uses one slot of many, so that it does not delay the others.
func (s *Sender) Send(ctx context.Context) error {
	var wait sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	slots := make(chan struct{}, s.Concurrent)
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
		due, err := s.Store.LeaseDeliveries(limited, s.Mails, free, leaseDuration)
		cancel()
		for range free - len(due) {
			<-slots
		}
		for _, d := range due {
			lease, release := context.WithTimeout(ctx, leaseDuration)
			previous, finished := s.turns.next(s.recipient(d))
			wait.Go(func() {
				err := s.attemptInTurn(ctx, lease, previous, d)
				finished()
				release()
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

// recipient returns the recipient of a delivery, or "".
func (s *Sender) recipient(d storage.Delivery) string {
	if kind := s.Kinds[d.Kind]; kind.Recipient != nil {
		return kind.Recipient(d)
	}
	return ""
}

// attemptInTurn makes one attempt after the previous delivery to the same recipient was attempted. It makes none when
// too little of the lease is left then: the delivery is due again.
func (s *Sender) attemptInTurn(
	parent, lease context.Context, previous <-chan struct{}, d storage.Delivery,
) error {
	if previous != nil {
		select {
		case <-previous:
		case <-lease.Done():
			return nil
		}
		if end, ok := lease.Deadline(); ok && time.Until(end) < leaseDuration/2 && parent.Err() == nil {
			return s.Store.PostponeDelivery(parent, d.ID, s.Store.Now())
		}
	}
	return s.attempt(parent, lease, d)
}

// attempt makes one attempt within its lease. A failed delivery is retried with exponential backoff.
func (s *Sender) attempt(parent, ctx context.Context, d storage.Delivery) error {
	kind, ok := s.Kinds[d.Kind]
	if !ok {
		return fmt.Errorf("unknown kind of delivery: %q", d.Kind)
	}
	failure := kind.Deliver(ctx, d)
	if parent.Err() != nil && failure != nil {
		return nil //nolint:nilerr // the process stops; another attempt follows when the lease expires
	}
	// A message that was delivered is finished even if the process stops: it must not be delivered twice.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(parent), queryTimeout)
	defer cancel()
	detail := map[string]any{"attempts": d.Attempts}
	if failure == nil {
		s.logSuccess(ctx)
		return s.Store.FinishDelivery(ctx, d, detail)
	}
	now := s.Store.Now()
	var postponed *Postponed
	if errors.As(failure, &postponed) {
		return s.Store.PostponeDelivery(ctx, d.ID, now.Add(min(postponed.Until.Sub(now), maxPostponement)))
	}
	var abandoned *Abandoned
	if errors.As(failure, &abandoned) {
		detail["reason"] = abandoned.Reason
		if abandoned.PauseAddress != "" {
			return s.Store.PauseMail(ctx, d, abandoned.PauseAddress, now.Add(pauseDuration), detail)
		}
		return s.Store.AbandonDelivery(ctx, d, detail)
	}
	s.logFailure(ctx, kind.FailedMessage, d, failure)
	if now.Sub(d.CreatedAt) >= kind.Lifetime && d.Attempts >= minAttempts {
		return s.Store.AbandonDelivery(ctx, d, detail)
	}
	return s.Store.PostponeDelivery(ctx, d.ID, now.Add(min(backoff(d.Attempts), kind.MaxBackoff)))
}

// receiver returns the attribute of the log that names who gets a delivery.
func receiver(d storage.Delivery) slog.Attr {
	if d.ClientID != "" {
		return slog.String("client_id", d.ClientID)
	}
	return slog.String("user_id", d.UserID)
}

// backoff returns the delay after a failed attempt: 1, 2, 4 … seconds, at most an hour.
func backoff(attempts int64) time.Duration {
	if attempts > 12 {
		return time.Hour
	}
	return min(time.Second<<max(0, attempts-1), time.Hour)
}
