package storage

import (
	"fmt"
	"sync/atomic"
	"time"
)

// heartbeat is when a goroutine last did its work, by the monotonic clock of this machine.
type heartbeat struct{ at atomic.Pointer[time.Time] }

// heartbeatLimit is how long the store may take for work that it does several times a second.
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

// CheckChangesFollowed returns ErrUnavailable when this process has not read the changes of other processes for a while, so that
// it uses no cache.
func (s *Store) CheckChangesFollowed() error { return s.followed.check("read the changes") }

// CheckAuditWritten returns ErrUnavailable when this process has not written its queued audit rows for a while.
func (s *Store) CheckAuditWritten() error { return s.batch.wrote.check("write queued audit rows") }
