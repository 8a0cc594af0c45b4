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
	maxMemory = 64 << 20 // bytes of all documents together, with what those under way may become

	maxOwnKept   = 30 // documents of one owner
	maxOwnAtOnce = 6  // and those of them that are under way

	// Who waits for a document holds a place of this server's. So only so many wait, of one owner and in all.
	maxOwnWaiting = 32
	maxWaiting    = 256
)

// ErrBusy is returned when so much is being fetched, in all or for this owner, that there is no room for more.
var ErrBusy = errors.New("too much is being fetched")

// cache keeps documents and failures, and lets only one request at a time ask for the same address. While a server fails,
// its last good document is answered for up to a day. Owners share room and nothing else: what one makes this server fetch
// neither pushes out nor holds up what another needs, but for the oldest of all once everything is full.
type cache struct {
	now func() time.Time

	mu      sync.Mutex
	entries map[wanted]*entry
	bytes   int64
	waiting map[string]int // by owner
	waiters int            // in all
}

// wanted is a document of at most limit bytes, which an owner needs.
type wanted struct {
	owner, address string
	limit          int64
	now            bool // as it is now: nothing is kept
}

type entry struct {
	ready   chan struct{} // closed when the answer is there
	doc     Document
	err     error
	asked   time.Time // when the server was last asked
	good    time.Time // when the document came
	until   time.Time
	used    time.Time
	size    int64 // what the entry counts for
	fetched bool  // whether the answer is there, under the cache's lock
	before  *entry
}

func newCache(now func() time.Time) *cache {
	return &cache{now: now, entries: map[wanted]*entry{}, waiting: map[string]int{}}
}

// Get returns a document of at most limit bytes that an owner, a client, needs: from memory where that is fresh.
func (c *Client) Get(ctx context.Context, owner, address string, limit int64) (Document, error) {
	return c.from(ctx, wanted{owner: owner, address: address, limit: limit}, func(e *entry) bool { return c.cache.now().Before(e.until) })
}

// Refresh is Get for a caller whom the document in memory did not satisfy: a key that is not in it. It asks the server
// again, but no more often than every ten seconds.
func (c *Client) Refresh(ctx context.Context, owner, address string, limit int64) (Document, error) {
	return c.from(ctx, wanted{owner: owner, address: address, limit: limit}, func(e *entry) bool {
		now := c.cache.now()
		return now.Before(e.until) && (e.err != nil || now.Sub(e.asked) < again)
	})
}

// GetUncached is Get for a caller to whom only the document as it is now will do.
func (c *Client) GetUncached(ctx context.Context, owner, address string, limit int64) (Document, error) {
	return c.from(ctx, wanted{owner: owner, address: address, limit: limit, now: true}, func(*entry) bool { return false })
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
		if !k.makeRoom(w) {
			defer k.mu.Unlock()
			if e != nil && e.err == nil && k.now().Sub(e.good) < longest {
				return e.doc, nil
			}
			return Document{}, ErrBusy
		}
		e = &entry{ready: make(chan struct{}), asked: k.now(), before: e, size: w.limit}
		k.entries[w] = e
		k.bytes += e.size
		go c.fill(context.WithoutCancel(ctx), w, e)
	}
	e.used = k.now()
	if e.fetched {
		defer k.mu.Unlock()
		return e.doc, e.err
	}
	if !k.queue(w.owner) {
		defer k.mu.Unlock()
		if b := e.before; b != nil && b.err == nil && k.now().Sub(b.good) < longest {
			return b.doc, nil
		}
		return Document{}, ErrBusy
	}
	k.mu.Unlock()
	defer k.leave(w.owner)
	select {
	case <-e.ready:
		return e.doc, e.err
	case <-ctx.Done():
		return Document{}, ctx.Err()
	}
}

// queue takes a place among those who wait, or reports that there is none.
func (k *cache) queue(owner string) bool {
	if k.waiting[owner] >= maxOwnWaiting || k.waiters >= maxWaiting {
		return false
	}
	k.waiting[owner]++
	k.waiters++
	return true
}

func (k *cache) leave(owner string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.waiters--
	if k.waiting[owner]--; k.waiting[owner] == 0 {
		delete(k.waiting, owner)
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
		if errors.Is(err, ErrBusy) {
			e.until = now // the server was not asked
		}
		if before != nil && before.err == nil && now.Sub(before.good) < longest {
			e.doc, e.err, e.good = before.doc, nil, before.good
		}
	}
	e.fetched, e.before = true, nil
	k.bytes -= e.size
	if before != nil {
		k.bytes -= before.size
	}
	e.size = int64(len(e.doc.Body))
	if w.now {
		delete(k.entries, w)
	} else {
		k.bytes += e.size
	}
	close(e.ready)
}

// makeRoom reports whether there is room to fetch a document. For it the owner's own, and when all is full anybody's
// longest unused ones are forgotten, but none that somebody waits for and not w itself; and none at all when that would
// not be enough.
func (k *cache) makeRoom(w wanted) bool {
	_, known := k.entries[w]
	kept, atOnce, waiting, bytes := 0, 0, 0, w.limit
	for other, e := range k.entries {
		if other.owner == w.owner {
			kept++
		}
		if e.fetched && other != w {
			continue
		}
		waiting++
		bytes += e.size
		if !e.fetched && other.owner == w.owner {
			atOnce++
		}
	}
	if atOnce >= maxOwnAtOnce || waiting >= maxKept || bytes > maxMemory {
		return false
	}
	if !known && kept >= maxOwnKept {
		k.forget(func(other wanted) bool { return other.owner == w.owner }, func() bool { kept--; return kept < maxOwnKept })
	}
	enough := func() bool { return (known || len(k.entries) < maxKept) && k.bytes+w.limit <= maxMemory }
	if !enough() {
		k.forget(func(other wanted) bool { return other != w }, enough)
	}
	return enough()
}

// forget removes entries, the longest unused first, until that is enough.
func (k *cache) forget(which func(w wanted) bool, enough func() bool) {
	for {
		var oldest wanted
		var e *entry
		for w, other := range k.entries {
			if other.fetched && which(w) && (e == nil || other.used.Before(e.used)) {
				oldest, e = w, other
			}
		}
		if e == nil {
			return
		}
		k.bytes -= e.size
		delete(k.entries, oldest)
		if enough() {
			return
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
