package fetch

import (
	"context"
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
	maxKept   = 1000
	maxMemory = 32 << 20 // bytes of all documents together
)

// cache keeps documents and failures, and lets only one request at a time ask for the same address.
type cache struct {
	now func() time.Time

	mu      sync.Mutex
	entries map[string]*entry
	bytes   int
}

type entry struct {
	ready   chan struct{} // closed when the answer is there
	doc     Document
	err     error
	fetched time.Time
	until   time.Time
}

func newCache(now func() time.Time) *cache { return &cache{now: now, entries: map[string]*entry{}} }

// Get returns a document of at most limit bytes, from memory where that is fresh.
func (c *Client) Get(ctx context.Context, address string, limit int64) (Document, error) {
	return c.getFresh(ctx, address, limit, time.Time{})
}

// GetAgain is Get for a caller whom the document in memory, read before now, did not satisfy: a key that is not in it. It
// asks the server again, but no more often than every ten seconds.
func (c *Client) GetAgain(ctx context.Context, address string, limit int64) (Document, error) {
	return c.getFresh(ctx, address, limit, c.cache.now().Add(-10*time.Second))
}

func (c *Client) getFresh(ctx context.Context, address string, limit int64, since time.Time) (Document, error) {
	k := c.cache
	k.mu.Lock()
	e := k.entries[address]
	if e != nil && e.answered() && (!k.now().Before(e.until) || e.fetched.Before(since) && e.err == nil) {
		k.remove(address)
		e = nil
	}
	if e == nil {
		e = &entry{ready: make(chan struct{})}
		k.makeRoom()
		k.entries[address] = e
		// Not under the caller's context: others may wait for the same document.
		go func() {
			fetching, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*timeout)
			defer cancel()
			doc, keep, err := c.get(fetching, address, limit)
			k.put(address, e, doc, keep, err)
		}()
	}
	k.mu.Unlock()
	select {
	case <-e.ready:
		return e.doc, e.err
	case <-ctx.Done():
		return Document{}, ctx.Err()
	}
}

func (e *entry) answered() bool {
	select {
	case <-e.ready:
		return true
	default:
		return false
	}
}

func (k *cache) put(address string, e *entry, doc Document, keep time.Duration, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	e.doc, e.err, e.fetched = doc, err, k.now()
	e.until = e.fetched.Add(keep)
	if err != nil {
		e.until = e.fetched.Add(failed)
	}
	if k.entries[address] == e {
		k.bytes += len(doc.Body)
	}
	close(e.ready)
}

func (k *cache) remove(address string) {
	if e := k.entries[address]; e != nil && e.answered() {
		k.bytes -= len(e.doc.Body)
	}
	delete(k.entries, address)
}

// makeRoom forgets what is stale, and if that is not enough, any.
func (k *cache) makeRoom() {
	if len(k.entries) < maxKept && k.bytes < maxMemory {
		return
	}
	for address, e := range k.entries {
		if e.answered() && !k.now().Before(e.until) {
			k.remove(address)
		}
	}
	for address, e := range k.entries { // in random order
		if len(k.entries) < maxKept*9/10 && k.bytes < maxMemory*9/10 {
			return
		}
		if e.answered() {
			k.remove(address)
		}
	}
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
