package db

import (
	"fmt"
	"sync/atomic"
	"time"
)

// Heartbeat is the monotonic time at which a goroutine last completed its work.
type Heartbeat struct {
	at    atomic.Pointer[time.Time]
	cause atomic.Pointer[error] // of the last failure since
}

// heartbeatLimit is the maximum time without success for work that is repeated several times a second.
const heartbeatLimit = 15 * time.Second

// Beat records a success.
func (h *Heartbeat) Beat() {
	now := time.Now()
	h.at.Store(&now)
	h.cause.Store(nil)
}

// Miss records why the work could not be done.
func (h *Heartbeat) Miss(err error) { h.cause.Store(&err) }

// Check returns ErrUnavailable, with the last cause, when the work was not done for heartbeatLimit.
func (h *Heartbeat) Check(what string) error {
	if at := h.at.Load(); at != nil && time.Since(*at) <= heartbeatLimit {
		return nil
	}
	err := fmt.Errorf("%s: %w: not done for over %s", what, ErrUnavailable, heartbeatLimit)
	if cause := h.cause.Load(); cause != nil {
		err = fmt.Errorf("%w: %w", err, *cause)
	}
	return err
}
