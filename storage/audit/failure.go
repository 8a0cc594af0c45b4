package audit

import (
	"context"

	"gatehouse/ratelimit"
	"gatehouse/storage/db"
	"gatehouse/storage/reqevent"
)

// RecordFailure counts a failure, which changed nothing, for Stats, and queues its row unless the limit on such rows is
// reached: otherwise an attacker could fill the disk. When the queue is full it returns ErrBusy immediately, because a
// failure is not worth waiting for. The type becomes the FailureEvent of the request event.
func (l *Log) RecordFailure(ctx context.Context, limiter *ratelimit.Limiter, e Event) error {
	if !l.CountFailure(ctx, limiter, e) {
		return nil
	}
	row, err := l.NewRow(ctx, e)
	if err != nil {
		return err
	}
	select {
	case l.batch.rows <- row:
		return nil
	default:
		return db.ErrBusy
	}
}

// CountFailure counts a failure for Stats and against the limits of RecordFailure, and reports whether they allow its
// row: for a caller who then writes the row itself.
func (l *Log) CountFailure(ctx context.Context, limiter *ratelimit.Limiter, e Event) (allowed bool) {
	reqevent.FromContext(ctx).FailureEvent = e.Type
	l.Count(e.Type)
	return !limiter.Count(ctx, failureCounts(ctx, e)...).Refused
}

// CheckFailure queries the limits as CountFailure does, and counts nothing: so that a success takes as long.
func (l *Log) CheckFailure(ctx context.Context, limiter *ratelimit.Limiter, e Event) {
	limiter.Check(ctx, failureCounts(ctx, e)...)
}

// RecordIf writes the row of a failure in the current transaction if CountFailure, which counted it, allowed that.
// Otherwise it executes a statement that changes nothing, so that the number of statements does not disclose the
// decision.
func (l *Log) RecordIf(ctx context.Context, allowed bool, e Event) error {
	row, err := l.NewRow(ctx, e)
	if err != nil {
		return err
	}
	if allowed {
		return db.Wrap("record an event", db.Insert(ctx, l.db.Write, &row))
	}
	var none int
	err = db.QueryRow(ctx, l.db.Write, []any{&none}, "SELECT count(*) FROM audit_events WHERE id = ?", row.ID)
	return db.Wrap("record no event", err)
}

// RecordSignInFailure does the same as RecordFailure for a failed sign-in, whose row is written before it returns.
func (l *Log) RecordSignInFailure(ctx context.Context, limiter *ratelimit.Limiter, e Event) error {
	reqevent.FromContext(ctx).FailureEvent = e.Type
	if limiter.Count(ctx, failureCounts(ctx, e)...).Refused {
		l.Count(e.Type)
		return nil
	}
	return l.Record(ctx, e)
}

// failureCounts returns the limits on the rows of a failure. A failure of an authenticated client or of an account has
// a limit of its own, which other callers cannot exhaust. All other failures share the limits of the network and of
// the server; what the network's limit refuses does not count against the server's.
func failureCounts(ctx context.Context, e Event) []ratelimit.Count {
	switch {
	case e.Type == AddressRefused: // this takes the correct secret
		return []ratelimit.Count{{Limit: ratelimit.RecordedFailure, Key: e.Type + " " + e.ClientID}}
	case e.Type == UserSignInFailed && e.UserID != "":
		return []ratelimit.Count{{Limit: ratelimit.RecordedFailure, Key: e.Type + " " + e.UserID}}
	}
	return []ratelimit.Count{
		{Limit: ratelimit.RecordedFailure, Key: e.Type + " " + reqevent.FromContext(ctx).Network()},
		{Limit: ratelimit.AllRecordedFailures},
	}
}
