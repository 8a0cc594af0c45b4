package fetch_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/oauth/fetch"
)

func TestResponsesAreBoundedAndCached(t *testing.T) {
	t.Parallel()
	s := newDocumentServer(t)
	if err := s.get("/large"); !errors.Is(err, fetch.ErrRefused) {
		t.Errorf("Get of 2000 bytes with a limit of 1000: error %v, want ErrRefused", err)
	}
	_ = s.get("/large")
	s.wantRequests(1, "a failed fetch is not retried immediately")
	s.clock.advance(31 * time.Second)
	_ = s.get("/large")
	s.wantRequests(1, "a failed fetch is retried after 30 seconds")
	for range 3 {
		if err := s.get("/short"); err != nil {
			t.Fatal(err)
		}
	}
	s.clock.advance(59 * time.Second)
	_ = s.get("/short")
	s.wantRequests(1, "a document is cached for a minute at least")
	s.clock.advance(2 * time.Second)
	_ = s.get("/short")
	s.wantRequests(1, "a document is fetched again after its lifetime of a minute")
	_ = s.get("/long")
	s.clock.advance(23 * time.Hour)
	_ = s.get("/long")
	s.wantRequests(1, "a document is cached for a day at most")
	s.clock.advance(2 * time.Hour)
	_ = s.get("/long")
	s.wantRequests(1, "a document is fetched again after a day")
	for range 2 {
		if _, err := s.client.GetUncached(t.Context(), "app", s.URL+"/long", 1000); err != nil {
			t.Fatal(err)
		}
	}
	s.wantRequests(2, "GetUncached always fetches")
	if _, err := s.client.Refresh(t.Context(), "app", s.URL+"/long", 1000); err != nil {
		t.Fatal(err)
	}
	s.wantRequests(0, "Refresh within ten seconds does not fetch")
	s.clock.advance(11 * time.Second)
	_, _ = s.client.Refresh(t.Context(), "app", s.URL+"/long", 1000)
	s.wantRequests(1, "Refresh after ten seconds fetches")
}

func TestConcurrentCallersShareOneFetch(t *testing.T) {
	t.Parallel()
	s := newDocumentServer(t)
	canceled, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() {
		if _, err := s.client.Get(canceled, "app", s.URL+"/slow", 1000); !errors.Is(err, context.Canceled) {
			t.Errorf("Get with a canceled context: error %v, want context.Canceled", err)
		}
	})
	cancel()
	wait.Wait()
	for range 20 {
		wait.Go(func() {
			if err := s.get("/slow"); err != nil {
				t.Errorf("Get after another caller canceled: %v", err)
			}
		})
	}
	s.release()
	wait.Wait()
	s.wantRequests(1, "21 concurrent callers")
}

func TestStaleDocumentIsServedWhileFetchingFails(t *testing.T) {
	t.Parallel()
	s := newDocumentServer(t)
	if err := s.get("/short"); err != nil {
		t.Fatal(err)
	}
	s.status.Store(http.StatusInternalServerError)
	s.clock.advance(25 * time.Hour)
	if err := s.get("/short"); err == nil {
		t.Error("Get of a document that is over a day old while fetching fails: no error, want one")
	}
	s.status.Store(http.StatusOK)
	s.clock.advance(time.Minute)
	if err := s.get("/short"); err != nil {
		t.Errorf("Get after fetching works again: %v", err)
	}
	s.requests.Store(0)
	s.status.Store(http.StatusInternalServerError)
	s.clock.advance(2 * time.Minute)
	for range 3 {
		if err := s.get("/short"); err != nil {
			t.Errorf("Get of a document that is 2 minutes old while fetching fails: %v", err)
		}
	}
	s.wantRequests(1, "a failed fetch is not retried immediately")
	if _, err := s.client.GetUncached(t.Context(), "app", s.URL+"/short", 1000); err == nil {
		t.Error("GetUncached while fetching fails: no error, want one")
	}
	if err := s.get("/other"); err == nil {
		t.Error("Get of a response with status 500: no error, want one")
	}
}

func TestDocumentsOfOneOwnerAreLimited(t *testing.T) {
	t.Parallel()
	s := newDocumentServer(t)
	get := func(owner, path string) {
		t.Helper()
		s.clock.advance(time.Millisecond)
		if _, err := s.client.Get(t.Context(), owner, s.URL+path, 1000); err != nil {
			t.Fatalf("Get of %s for %s: %v", path, owner, err)
		}
	}
	get("another", "/other")
	const limit = 30
	for i := range limit {
		get("app", "/doc"+strconv.Itoa(i))
	}
	s.requests.Store(0)
	for i := range limit {
		get("app", "/doc"+strconv.Itoa(i))
	}
	s.wantRequests(0, "30 documents of one owner are cached")
	get("app", "/doc"+strconv.Itoa(limit))
	get("app", "/doc1")
	s.wantRequests(1, "of 31 documents, the 30 most recently used are cached")
	get("app", "/doc0")
	s.wantRequests(1, "the least recently used document is evicted")
	get("another", "/other")
	s.wantRequests(0, "the documents of another owner are not evicted")
}

// documentServer counts its requests and responds with the status.
type documentServer struct {
	*httptest.Server
	t        *testing.T
	client   *fetch.Client
	clock    *clock
	requests atomic.Int32
	status   atomic.Int32
	hold     chan struct{} // requests to /slow wait until it is closed
}

func newDocumentServer(t *testing.T) *documentServer {
	t.Helper()
	s := &documentServer{t: t, clock: &clock{now: time.Now()}, hold: make(chan struct{})}
	s.status.Store(http.StatusOK)
	s.client = fetch.New([]string{"127.0.0.1"}, s.clock.Now)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		switch r.URL.Path {
		case "/large":
			_, _ = w.Write([]byte(strings.Repeat("x", 2000)))
		case "/slow":
			<-s.hold
		case "/short":
			w.Header().Set("Cache-Control", "max-age=1")
		case "/long":
			w.Header().Set("Cache-Control", "public, max-age=999999999")
		}
		w.WriteHeader(int(s.status.Load()))
	}))
	t.Cleanup(s.Close)
	return s
}

// release lets the requests to /slow finish.
func (s *documentServer) release() { close(s.hold) }

func (s *documentServer) get(path string) error {
	_, err := s.client.Get(s.t.Context(), "app", s.URL+path, 1000)
	return err
}

// wantRequests fails the test unless the server received that many requests since wantRequests was last called.
func (s *documentServer) wantRequests(want int32, expectation string) {
	s.t.Helper()
	if n := s.requests.Swap(0); n != want {
		s.t.Errorf("%s: %d requests, want %d", expectation, n, want)
	}
}

// TestOneOwnerDoesNotDelayOthers checks that an owner whose host stalls, or that needs many documents, gets ErrBusy.
// The documents of others stay in the cache and are fetched immediately.
func TestOneOwnerDoesNotDelayOthers(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	var keys, stalled atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/stall") {
			stalled.Add(1)
			<-hold
		}
		if r.URL.Path == "/keys" {
			keys.Add(1)
		}
	}))
	defer server.Close()
	now := &clock{now: time.Now()}
	c := fetch.New([]string{"127.0.0.1"}, now.Now)
	mustGet := func(path string) {
		t.Helper()
		if _, err := c.Get(t.Context(), "other", server.URL+path, 1000); err != nil {
			t.Fatalf("Get of %s for another owner: %v", path, err)
		}
	}
	mustGet("/keys")
	canceled, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wait sync.WaitGroup
	var refused atomic.Int32
	for i := range 200 {
		wait.Go(func() {
			_, err := c.Get(canceled, "attacker", server.URL+"/stall"+strconv.Itoa(i), 1000)
			if errors.Is(err, fetch.ErrBusy) && refused.Add(1) == 194 {
				cancel() // ends the six fetches that wait for the stalled host
			}
		})
	}
	wait.Wait()
	if n := refused.Load(); n != 194 {
		t.Errorf("%d of 200 concurrent fetches for one owner got ErrBusy, want 194", n)
	}
	mustGet("/keys")
	mustGet("/other")
	close(hold)
	if n := stalled.Load(); n > 6 {
		t.Errorf("%d concurrent fetches for one owner, want at most 6", n)
	}

	// A hundred owners fill the cache: the least recently used documents are evicted, not those in use.
	for i := range 2000 {
		now.advance(time.Millisecond)
		if _, err := c.Get(t.Context(), "owner"+strconv.Itoa(i%100), server.URL+"/many"+strconv.Itoa(i), 1000); err != nil {
			t.Fatal(err)
		}
		mustGet("/keys")
	}
	if n := keys.Load(); n != 1 {
		t.Errorf("a document in use was fetched %d times, want once", n)
	}
}

// TestStaleDocumentIsServedAtLimits checks that a cached document is served although it is stale, at the limits on
// fetches of one owner and of all owners.
func TestStaleDocumentIsServedAtLimits(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	arrived := make(chan struct{}, 200)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/stall") {
			arrived <- struct{}{}
			<-hold
		}
	}))
	defer server.Close()
	now := &clock{now: time.Now()}
	c := fetch.New([]string{"127.0.0.1"}, now.Now)
	get := func(owner, path string, limit int64) error {
		_, err := c.Get(t.Context(), owner, server.URL+path, limit)
		return err
	}
	owners := []string{"app", "another"}
	for _, owner := range owners {
		if err := get(owner, "/keys", 1000); err != nil {
			t.Fatal(err)
		}
	}
	var wait sync.WaitGroup
	stall := func(owner string, limit int64) {
		wait.Go(func() { _ = get(owner, "/stall", limit) })
		<-arrived
	}
	check := func(state string) {
		t.Helper()
		for _, owner := range owners {
			if err := get(owner, "/keys", 1000); err != nil {
				t.Errorf("Get of a cached document, %s: %v", state, err)
			}
		}
	}
	for i := range 6 {
		stall("app", int64(1000+i))
	}
	now.advance(time.Hour)
	check("at the limit of one owner")
	for i := range 63 {
		stall("owner"+strconv.Itoa(i), 1<<20)
	}
	if err := get("large", "/large", 1<<20); !errors.Is(err, fetch.ErrBusy) {
		t.Errorf("Get of a new document at the memory limit: error %v, want ErrBusy", err)
	}
	check("fresh, at the memory limit")
	now.advance(time.Hour)
	check("stale, at the memory limit")
	now.advance(25 * time.Hour)
	if err := get("app", "/keys", 1000); !errors.Is(err, fetch.ErrBusy) {
		t.Errorf("Get of a document that is over a day old, at the memory limit: error %v, want ErrBusy", err)
	}
	close(hold)
	wait.Wait()
}

// TestMemoryIsBounded checks that a fetch counts with the maximum size of its document.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	var open sync.Once
	release := func() { open.Do(func() { close(hold) }) }
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hold }))
	defer server.Close()
	defer release()
	c := fetch.New([]string{"127.0.0.1"}, time.Now)
	var wait sync.WaitGroup
	var refused atomic.Int32
	for i := range 100 {
		wait.Go(func() {
			_, err := c.Get(t.Context(), "owner"+strconv.Itoa(i), server.URL, 1<<20)
			if errors.Is(err, fetch.ErrBusy) {
				if refused.Add(1) == 36 { // the other 64 fetches use 64 MiB, the limit
					release()
				}
			} else if err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if n := refused.Load(); n != 36 {
		t.Errorf("%d of 100 fetches of 1 MiB got ErrBusy, want 36", n)
	}
	if _, err := c.Get(t.Context(), "late", server.URL, 1<<20); err != nil {
		t.Errorf("Get after the fetches ended: %v", err)
	}
}

// TestRequestsWaitingForSlowDocumentAreLimited checks that requests above the limit immediately get ErrBusy or the last
// document.
func TestRequestsWaitingForSlowDocumentAreLimited(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	var slow atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if slow.Load() {
			<-hold
		}
		_, _ = w.Write([]byte("keys"))
	}))
	defer server.Close()
	now := &clock{now: time.Now()}
	c := fetch.New([]string{"127.0.0.1"}, now.Now)
	if _, err := c.Get(t.Context(), "app", server.URL+"/keys", 1000); err != nil {
		t.Fatal(err)
	}
	slow.Store(true)
	now.advance(2 * time.Hour)
	var waiting sync.WaitGroup
	var refused, served atomic.Int32
	for range 100 {
		waiting.Go(func() {
			_, err := c.Get(t.Context(), "new", server.URL+"/new", 1000)
			if errors.Is(err, fetch.ErrBusy) {
				refused.Add(1)
			} else if err != nil {
				t.Error(err)
			}
		})
		waiting.Go(func() {
			if doc, err := c.Get(t.Context(), "app", server.URL+"/keys", 1000); err != nil || string(doc.Body) != "keys" {
				t.Errorf("Get of a cached document = %q, %v, want \"keys\"", doc.Body, err)
			}
			served.Add(1)
		})
	}
	for deadline := time.Now().Add(10 * time.Second); refused.Load() < 68 || served.Load() < 68; {
		if time.Now().After(deadline) {
			t.Fatalf("%d refused and %d served while the host stalls, want 68 each", refused.Load(), served.Load())
		}
	}
	close(hold)
	waiting.Wait()
	if refused.Load() != 68 || served.Load() != 100 {
		t.Errorf("%d refused and %d served, want 68 and 100", refused.Load(), served.Load())
	}
}
