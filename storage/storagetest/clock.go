package storagetest

import (
	"sync"
	"time"
)

// Clock is the clock of the database and of every process without a skewed one. Tests advance it.
type Clock struct {
	mu    sync.Mutex
	now   time.Time
	base  *Clock // the clock that this one is ahead of, or nil
	ahead time.Duration
}

// NewClock returns a clock that is set to the current second.
func NewClock() *Clock { return &Clock{now: time.Now().UTC().Truncate(time.Second)} }

// Skewed returns the clock of a host that is ahead of c by d, which may be negative.
func (c *Clock) Skewed(d time.Duration) *Clock { return &Clock{base: c, ahead: d} }

// Now returns the clock's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.base != nil {
		return c.base.Now().Add(c.ahead)
	}
	return c.now
}

// Database returns the time of the database that the host uses.
func (c *Clock) Database() time.Time {
	if c.base != nil {
		return c.base.Now()
	}
	return c.Now()
}

// Advance moves the clock. A skewed clock moves away from the database's.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now, c.ahead = c.now.Add(d), c.ahead+d
}
