// Package lograte limits how often a continuing condition is logged. What is logged, and at which level, is decided by
// the callers.
package lograte

import "time"

// Limiter allows one log line per interval. It is not safe for concurrent use. The zero value allows one per minute.
type Limiter struct {
	Interval time.Duration // 0: a minute
	logged   time.Time     // when the last line was allowed
}

// Allow reports whether a line may be logged now. When it may, the interval starts again.
func (l *Limiter) Allow() bool {
	every := l.Interval
	if every == 0 {
		every = time.Minute
	}
	now := time.Now()
	if !l.logged.IsZero() && now.Sub(l.logged) < every {
		return false
	}
	l.logged = now
	return true
}

// Logged reports whether a line was allowed since the last Reset.
func (l *Limiter) Logged() bool { return !l.logged.IsZero() }

// Reset ends the condition, so that the next line is allowed immediately. It reports whether a line was allowed since
// the last Reset, and so whether the end should be logged.
func (l *Limiter) Reset() (logged bool) {
	logged = l.Logged()
	l.logged = time.Time{}
	return logged
}
