package fetch

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	shortest  = time.Minute    // however fresh a server wants to be asked
	longest   = 24 * time.Hour // however long it allows
	usual     = 10 * time.Minute
	failed    = 30 * time.Second // a server that does not answer is not asked again at once
	again     = 10 * time.Second // nor one whose answer did not satisfy
	maxKept   = 1000
	maxMemory = 32 << 20 // bytes of all documents together
)

// ErrBusy is returned when so much is being fetched that there is no room for more.
var ErrBusy = errors.New("too much is being fetched")

// cache keeps documents and failures, and lets only one request at a time ask for the same address. While a server fails,
// its last good document is answered for up to a day.
type cache struct {
	now func() time.Time

	mu      sync.Mutex
	entries map[wanted]*entry
	bytes   int
}

// wanted is a document of at most limit bytes: what is too large for one caller may be welcome to another.
type wanted struct {
	address string
	limit   int64
}

type entry struct {
	ready   chan struct{} // closed when the answer is there
	doc     Document
	err     error
	asked   time.Time // when the server was last asked
	good    time.Time // when the document came
	until   time.Time
	fetched bool // whether the answer is there, under the cache's lock
	before  *entry
}

func newCache(now func() time.Time) *cache { return &cache{now: now, entries: map[wanted]*entry{}} }

// Get returns a document of at most limit bytes, from memory where that is fresh.
func (c *Client) Get(ctx context.Context, address string, limit int64) (Document, error) {
	return c.from(ctx, wanted{address, limit}, func(e *entry) bool { return c.cache.now().Before(e.until) })
}

// GetAgain is Get for a caller whom the document in memory did not satisfy: a key that is not in it. It asks the server
// again, but no more often than every ten seconds.
func (c *Client) GetAgain(ctx context.Context, address string, limit int64) (Document, error) {
	return c.from(ctx, wanted{address, limit}, func(e *entry) bool {
		now := c.cache.now()
		return now.Before(e.until) && (e.err != nil || now.Sub(e.asked) < again)
	})
}

// from answers from memory when the entry there will do or is on its way, and else asks the server.
func (c *Client) from(ctx context.Context, w wanted, fresh func(e *entry) bool) (Document, error) {
	k := c.cache
	k.mu.Lock()
	e := k.entries[w]
	if e != nil && !e.fetched && e.before != nil && fresh(e.before) {
		e = e.before // it will do, while somebody else wants a newer one
	}
	if e == nil || e.fetched && !fresh(e) {
		before := e
		if before == nil && !k.makeRoom() {
			k.mu.Unlock()
			return Document{}, ErrBusy
		}
		e = &entry{ready: make(chan struct{}), asked: k.now(), before: before}
		k.entries[w] = e
		go c.fill(context.WithoutCancel(ctx), w, e)
	}
	k.mu.Unlock()
	select {
	case <-e.ready:
		return e.doc, e.err
	case <-ctx.Done():
		return Document{}, ctx.Err()
	}
}

// fill asks the server. It is not under the caller's context: others may wait for the same document.
func (c *Client) fill(ctx context.Context, w wanted, e *entry) {
	ctx, cancel := context.WithTimeout(ctx, 2*timeout)
	defer cancel()
	var doc Document
	var keep time.Duration
	var err error
	select {
	case c.slots <- struct{}{}:
		doc, keep, err = c.get(ctx, w.address, w.limit)
		<-c.slots
	case <-ctx.Done():
		err = ErrBusy
	}
	k := c.cache
	k.mu.Lock()
	defer k.mu.Unlock()
	now, before := k.now(), e.before
	e.doc, e.err, e.good, e.until = doc, err, now, now.Add(keep)
	if err != nil {
		e.until = now.Add(failed)
		if before != nil && before.err == nil && now.Sub(before.good) < longest {
			e.doc, e.err, e.good = before.doc, nil, before.good
		}
	}
	e.fetched, e.before = true, nil
	if before != nil {
		k.bytes -= len(before.doc.Body)
	}
	if k.entries[w] == e {
		k.bytes += len(e.doc.Body)
	}
	close(e.ready)
}

// makeRoom forgets what is stale, and if that is not enough, any that nobody waits for. It reports whether there is room.
func (k *cache) makeRoom() bool {
	if len(k.entries) < maxKept && k.bytes < maxMemory {
		return true
	}
	for w, e := range k.entries {
		if e.fetched && !k.now().Before(e.until) {
			k.remove(w, e)
		}
	}
	for w, e := range k.entries { // in random order
		if len(k.entries) < maxKept*9/10 && k.bytes < maxMemory*9/10 {
			break
		}
		if e.fetched {
			k.remove(w, e)
		}
	}
	return len(k.entries) < maxKept
}

func (k *cache) remove(w wanted, e *entry) {
	k.bytes -= len(e.doc.Body)
	delete(k.entries, w)
}

// keepFor reads max-age of Cache-Control, within our bounds.
func keepFor(h http.Header) time.Duration {
	for directive := range strings.SplitSeq(h.Get("Cache-Control"), ",") {
		directive = strings.ToLower(strings.TrimSpace(directive))
		if directive == "no-store" || directive == "no-cache" {
			return shortest
		}
		if value, ok := strings.CutPrefix(directive, "max-age="); ok {
			if n, err := strconv.ParseInt(value, 10, 32); err == nil {
				return min(max(time.Duration(n)*time.Second, shortest), longest)
			}
		}
	}
	return usual
}
