package fetch_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/oauth/fetch"
)

// TestASlowDocumentHoldsFewRequests: whoever waits for one holds a place of the server's, so that only some do, and the others
// hear at once that there is none or get the last one.
func TestASlowDocumentHoldsFewRequests(t *testing.T) {
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
	if _, err := c.Get(t.Context(), "known", server.URL+"/known", 1000); err != nil {
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
			if doc, err := c.Get(t.Context(), "known", server.URL+"/known", 1000); err != nil || string(doc.Body) != "keys" {
				t.Errorf("a document that is there already: %v", err)
			}
			served.Add(1)
		})
	}
	for deadline := time.Now().Add(10 * time.Second); refused.Load() < 68 || served.Load() < 68; {
		if time.Now().After(deadline) {
			t.Fatalf("%d are refused and %d served while nothing comes", refused.Load(), served.Load())
		}
	}
	close(hold)
	waiting.Wait()
	if refused.Load() != 68 || served.Load() != 100 {
		t.Errorf("%d refused, %d served", refused.Load(), served.Load())
	}
}
