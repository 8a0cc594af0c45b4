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
	minTTL     = time.Minute    // even if the response allows less
	maxTTL     = 24 * time.Hour // even if it allows more; also how long a stale document is served while fetching fails
	defaultTTL = 10 * time.Minute
	failureTTL = 30 * time.Second // time until a failed fetch is retried
	refreshTTL = 10 * time.Second // minimum time between two fetches by Refresh

	maxDocuments = 1000
	maxMemory    = 64 << 20 // bytes of all documents, including the maximum size of those being fetched

	maxOwnerDocuments = 30
	maxOwnerFetches   = 6 // concurrent fetches for one owner

	// A request that waits for a document occupies one of the server's MAX_REQUESTS.
	maxOwnerWaiting = 32
	maxWaiting      = 256
)

// ErrBusy is returned when too much is being fetched for this owner or in total.
var ErrBusy = errors.New("too many fetches")

// cache stores documents and failures, and fetches each document once at a time. While fetching fails, the last
// document is served for up to a day. Each owner has its own entries, so that one owner can neither evict nor delay the
// documents of another, except that the least recently used entry of all owners is evicted when the cache is full.
type cache struct {
	now func() time.Time

	mu      sync.Mutex
	entries map[cacheKey]*entry
	bytes   int64
	waiting map[string]int // requests by owner
	waiters int            // requests in total
}

// cacheKey identifies a document with a maximum size for an owner.
type cacheKey struct {
	owner, url string
	limit      int64
	uncached   bool   // for GetUncached and Revalidate: deleted when it is fetched
	direct     bool   // for Revalidate: a redirect is an error
	etag       string // for Revalidate: of the document that the caller has
}

type entry struct {
	ready     chan struct{} // closed when the document is fetched
	doc       Document
	err       error
	started   time.Time // start of the fetch
	fetchedAt time.Time // of doc
	expires   time.Time
	used      time.Time
	size      int64 // bytes that the entry counts for
	done      bool  // whether the fetch has ended, under the cache's lock
	previous  *entry
}

// usable reports whether the entry has a document that may be served although it is stale.
func (e *entry) usable(now time.Time) bool {
	return e != nil && e.err == nil && now.Sub(e.fetchedAt) < maxTTL
}

func newCache(now func() time.Time) *cache {
	return &cache{now: now, entries: map[cacheKey]*entry{}, waiting: map[string]int{}}
}

// Get returns a document of at most limit bytes from the cache, or fetches it. owner is the client that needs it. Get
// returns ErrBusy at the limits on fetches.
func (c *Client) Get(ctx context.Context, owner, url string, limit int64) (Document, error) {
	return c.load(ctx, cacheKey{owner: owner, url: url, limit: limit}, func(e *entry) bool {
		return c.cache.now().Before(e.expires)
	})
}

// Refresh does the same as Get for a caller that does not find what it needs in the cached document, such as a key. It
// fetches the document again, at most every ten seconds.
func (c *Client) Refresh(ctx context.Context, owner, url string, limit int64) (Document, error) {
	return c.load(ctx, cacheKey{owner: owner, url: url, limit: limit}, func(e *entry) bool {
		now := c.cache.now()
		return now.Before(e.expires) && (e.err != nil || now.Sub(e.started) < refreshTTL)
	})
}

// GetUncached is like Get, but always fetches the document and does not store it.
func (c *Client) GetUncached(ctx context.Context, owner, url string, limit int64) (Document, error) {
	key := cacheKey{owner: owner, url: url, limit: limit, uncached: true}
	return c.load(ctx, key, func(*entry) bool { return false })
}

// Revalidate fetches a document for a caller that stores it: from exactly this URL, without redirects and without the
// cache. etag is that of the document that the caller has, or empty. It returns a StatusError for a status other than
// 200, and ErrTooLarge.
func (c *Client) Revalidate(ctx context.Context, owner, url string, limit int64, etag string) (Document, error) {
	key := cacheKey{owner: owner, url: url, limit: limit, uncached: true, direct: true, etag: etag}
	return c.load(ctx, key, func(*entry) bool { return false })
}

// load returns the document of a fresh entry or joins a fetch that is in progress. Otherwise it starts a fetch.
func (c *Client) load(ctx context.Context, key cacheKey, fresh func(e *entry) bool) (Document, error) {
	k := c.cache
	k.mu.Lock()
	e := k.entries[key]
	if e != nil && !e.done && e.previous != nil && fresh(e.previous) {
		e = e.previous // fresh enough for this caller, although another caller is fetching a newer document
	}
	if e == nil || e.done && !fresh(e) {
		if !k.reserve(key) {
			defer k.mu.Unlock()
			return e.docIfUsable(k.now())
		}
		e = &entry{ready: make(chan struct{}), started: k.now(), previous: e, size: key.limit}
		k.entries[key] = e
		k.bytes += e.size
		go c.fetchInto(context.WithoutCancel(ctx), key, e)
	}
	e.used = k.now()
	if e.done {
		defer k.mu.Unlock()
		return e.doc, e.err
	}
	if !k.addWaiter(key.owner) {
		defer k.mu.Unlock()
		return e.previous.docIfUsable(k.now())
	}
	k.mu.Unlock()
	defer k.removeWaiter(key.owner)
	select {
	case <-e.ready:
		return e.doc, e.err
	case <-ctx.Done():
		return Document{}, ctx.Err()
	}
}

// docIfUsable returns the document of an entry that may be nil, or ErrBusy.
func (e *entry) docIfUsable(now time.Time) (Document, error) {
	if e.usable(now) {
		return e.doc, nil
	}
	return Document{}, ErrBusy
}

// addWaiter counts a request that waits for a document. It returns false at the limits.
func (k *cache) addWaiter(owner string) bool {
	if k.waiting[owner] >= maxOwnerWaiting || k.waiters >= maxWaiting {
		return false
	}
	k.waiting[owner]++
	k.waiters++
	return true
}

func (k *cache) removeWaiter(owner string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.waiters--
	if k.waiting[owner]--; k.waiting[owner] == 0 {
		delete(k.waiting, owner)
	}
}

// fetchInto fetches the document of an entry. Its context is not the caller's, because other requests may wait for the
// same document.
func (c *Client) fetchInto(ctx context.Context, key cacheKey, e *entry) {
	ctx, cancel := context.WithTimeout(ctx, 2*timeout)
	defer cancel()
	var doc Document
	var ttl time.Duration
	var err error
	select {
	case c.slots <- struct{}{}:
		doc, ttl, err = c.get(ctx, key)
		<-c.slots
	case <-ctx.Done():
		err = ErrBusy
	}
	k := c.cache
	k.mu.Lock()
	defer k.mu.Unlock()
	now, previous := k.now(), e.previous
	e.doc, e.err, e.fetchedAt, e.expires = doc, err, now, now.Add(ttl)
	if err != nil {
		e.expires = now.Add(failureTTL)
		if errors.Is(err, ErrBusy) {
			e.expires = now // no request was sent
		}
		if previous.usable(now) {
			e.doc, e.err, e.fetchedAt = previous.doc, nil, previous.fetchedAt
		}
	}
	e.done, e.previous = true, nil
	k.bytes -= e.size
	if previous != nil {
		k.bytes -= previous.size
	}
	e.size = int64(len(e.doc.Body))
	if key.uncached {
		delete(k.entries, key)
	} else {
		k.bytes += e.size
	}
	close(e.ready)
}

// reserve makes space to fetch a document and reports whether there is enough. It evicts the least recently used
// documents of the owner or, when the cache is full, of all owners, but not the entry of key and none that is being
// fetched. It evicts nothing if that could not make enough space.
func (k *cache) reserve(key cacheKey) bool {
	_, exists := k.entries[key]
	owned, ownFetches, fetches, bytes := 0, 0, 0, key.limit
	for other, e := range k.entries {
		if other.owner == key.owner {
			owned++
		}
		if e.done && other != key {
			continue
		}
		fetches++
		bytes += e.size
		if !e.done && other.owner == key.owner {
			ownFetches++
		}
	}
	if ownFetches >= maxOwnerFetches || fetches >= maxDocuments || bytes > maxMemory {
		return false
	}
	if !exists && owned >= maxOwnerDocuments {
		ofOwner := func(other cacheKey) bool { return other.owner == key.owner }
		k.evict(ofOwner, func() bool { owned--; return owned < maxOwnerDocuments })
	}
	enough := func() bool { return (exists || len(k.entries) < maxDocuments) && k.bytes+key.limit <= maxMemory }
	if !enough() {
		k.evict(func(other cacheKey) bool { return other != key }, enough)
	}
	return enough()
}

// evict removes matching entries, the least recently used first, until there is enough space.
func (k *cache) evict(matches func(cacheKey) bool, enough func() bool) {
	for {
		var oldestKey cacheKey
		var oldest *entry
		for key, e := range k.entries {
			if e.done && matches(key) && (oldest == nil || e.used.Before(oldest.used)) {
				oldestKey, oldest = key, e
			}
		}
		if oldest == nil {
			return
		}
		k.bytes -= oldest.size
		delete(k.entries, oldestKey)
		if enough() {
			return
		}
	}
}

// ttlOf returns the max-age of Cache-Control, limited to minTTL and maxTTL.
func ttlOf(h http.Header) time.Duration {
	for directive := range strings.SplitSeq(h.Get("Cache-Control"), ",") {
		directive = strings.ToLower(strings.TrimSpace(directive))
		if directive == "no-store" || directive == "no-cache" {
			return minTTL
		}
		if value, ok := strings.CutPrefix(directive, "max-age="); ok {
			if n, err := strconv.ParseInt(value, 10, 32); err == nil {
				return min(max(time.Duration(n)*time.Second, minTTL), maxTTL)
			}
		}
	}
	return defaultTTL
}

// maxAge returns how long a response may be cached by its max-age or, without it, its Expires header: 0 if it has
// neither or must not be cached.
func (c *Client) maxAge(h http.Header) time.Duration {
	for directive := range strings.SplitSeq(h.Get("Cache-Control"), ",") {
		directive = strings.ToLower(strings.TrimSpace(directive))
		if directive == "no-store" || directive == "no-cache" {
			return 0
		}
		if value, ok := strings.CutPrefix(directive, "max-age="); ok {
			if n, err := strconv.ParseInt(value, 10, 32); err == nil {
				return time.Duration(n) * time.Second
			}
		}
	}
	expires, err := http.ParseTime(h.Get("Expires"))
	if err != nil {
		return 0
	}
	return expires.Sub(c.cache.now())
}
