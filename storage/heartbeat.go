package storage

import (
	"fmt"
	"sync/atomic"
	"time"
)

// heartbeat is the monotonic time at which a goroutine last completed its work.
type heartbeat struct {
	at    atomic.Pointer[time.Time]
	cause atomic.Pointer[error] // of the last failure since
}

// heartbeatLimit is the maximum time without success for work that the store repeats several times a second.
const heartbeatLimit = 15 * time.Second

func (h *heartbeat) beat() {
	now := time.Now()
	h.at.Store(&now)
	h.cause.Store(nil)
}

// missed notes why the work could not be done.
func (h *heartbeat) missed(err error) { h.cause.Store(&err) }

func (h *heartbeat) check(what string) error {
	if at := h.at.Load(); at != nil && time.Since(*at) <= heartbeatLimit {
		return nil
	}
	err := fmt.Errorf("%s: %w: not done for over %s", what, ErrUnavailable, heartbeatLimit)
	if cause := h.cause.Load(); cause != nil {
		err = fmt.Errorf("%w: %w", err, *cause)
	}
	return err
}

// CheckChangesFollowed returns ErrUnavailable when this process has not read the changes of other processes for a
// while and therefore bypasses its caches.
func (s *Store) CheckChangesFollowed() error { return s.followed.check("read the changes") }

// CheckAuditWritten returns ErrUnavailable when this process has not written its queued audit rows for a while.
func (s *Store) CheckAuditWritten() error { return s.batch.wrote.check("write queued audit rows") }
