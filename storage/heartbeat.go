package storage

import (
	"fmt"
	"sync/atomic"
	"time"
)

// heartbeat is the monotonic time at which a goroutine last completed its work.
type heartbeat struct{ at atomic.Pointer[time.Time] }

// heartbeatLimit is the maximum time without success for work that the store repeats several times a second.
const heartbeatLimit = 15 * time.Second

func (h *heartbeat) beat() {
	now := time.Now()
	h.at.Store(&now)
}

func (h *heartbeat) check(what string) error {
	if at := h.at.Load(); at == nil || time.Since(*at) > heartbeatLimit {
		return fmt.Errorf("%s: %w: not done for over %s", what, ErrUnavailable, heartbeatLimit)
	}
	return nil
}

// CheckChangesFollowed returns ErrUnavailable when this process has not read the changes of other processes for a
// while and therefore bypasses its caches.
func (s *Store) CheckChangesFollowed() error { return s.followed.check("read the changes") }

// CheckAuditWritten returns ErrUnavailable when this process has not written its queued audit rows for a while.
func (s *Store) CheckAuditWritten() error { return s.batch.wrote.check("write queued audit rows") }
