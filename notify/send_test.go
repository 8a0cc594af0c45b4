package notify_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/notify"
	"gatehouse/oauth/fetch"
	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

// fixture is a sender with a client, and the host that receives its messages.
type fixture struct {
	*notify.Sender

	clock    *storagetest.Clock
	url      string       // of the database
	status   atomic.Int64 // with which the host responds
	received atomic.Int64
	log      strings.Builder
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{clock: storagetest.NewClock(), url: storagetest.URL(t, storage.SQLite)}
	f.status.Store(http.StatusOK)
	host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && r.FormValue("message") == "of the session" {
			f.received.Add(1)
		}
		w.WriteHeader(int(f.status.Load()))
	}))
	t.Cleanup(host.Close)
	store := storagetest.Open(t, f.url, f.clock)
	now := f.clock.Now()
	storagetest.Must(t, store.CreateClient(t.Context(), &storage.Client{ID: "gc1", CreatedAt: now, UpdatedAt: now}, nil))
	build := func(_ context.Context, _ *storage.Client, d storage.Delivery) (string, url.Values, error) {
		return host.URL, url.Values{"message": {"of the " + d.SessionID}}, nil
	}
	f.Sender = &notify.Sender{
		Store: store, Log: slog.New(slog.NewTextHandler(&f.log, nil)), Concurrent: notify.ConcurrentPosts,
		Kinds: map[string]notify.Kind{storage.BackchannelLogout: notify.ToClient(
			store, fetch.New([]string{"127.0.0.1"}, f.clock.Now), "delivery failed", build,
		)},
	}
	return f
}

// queue adds a delivery that is due.
func (f *fixture) queue(t *testing.T, id, kind string) {
	t.Helper()
	now := f.clock.Now().UnixMilli()
	storagetest.Exec(t, f.Store, f.url, fmt.Sprintf(`INSERT INTO deliveries
		(id, kind, client_id, user_id, session_id, attempts, created_at, next_at)
		VALUES ('%s', '%s', 'gc1', 'alice', 'session', 0, %d, %d)`, id, kind, now, now))
}

// wantState fails the test unless this many deliveries are queued and this many audit rows of the type are stored.
func (f *fixture) wantState(t *testing.T, when string, queued int64, event string, rows int64) {
	t.Helper()
	got := storagetest.Count(t, f.Store, f.url, "SELECT count(*) FROM deliveries")
	recorded, err := f.Store.Audit.CountRows(t.Context(), audit.Filter{Event: event})
	storagetest.Must(t, err)
	if got != queued || recorded != rows {
		t.Errorf("%s: %d deliveries are queued and %d rows of %s stored, want %d and %d",
			when, got, recorded, event, queued, rows)
	}
}

func TestSendDeliversEachMessageOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for i := range 30 { // more than one batch
		f.queue(t, fmt.Sprint(i), storage.BackchannelLogout)
	}
	storagetest.Must(t, f.Send(t.Context()))
	storagetest.Must(t, f.Send(t.Context()))
	if n := f.received.Load(); n != 30 {
		t.Errorf("the host received %d messages, want 30", n)
	}
	f.wantState(t, "after Send", 0, audit.LogoutDelivered, 30)
}

// TestFailedDeliveryIsRetriedForADay lets the host fail for longer than a delivery is retried.
func TestFailedDeliveryIsRetriedForADay(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.status.Store(http.StatusInternalServerError)
	f.queue(t, "1", storage.BackchannelLogout)
	for range 2 { // the second call finds none that is due
		storagetest.Must(t, f.Send(t.Context()))
	}
	if n := f.received.Load(); n != 1 {
		t.Errorf("the host received %d messages within the backoff, want 1", n)
	}
	f.clock.Advance(25 * time.Hour)
	for i := range 11 { // an old delivery has 12 attempts nevertheless
		f.wantState(t, fmt.Sprintf("after %d attempts", i+1), 1, audit.LogoutUndelivered, 0)
		storagetest.Must(t, f.Send(t.Context()))
		f.clock.Advance(time.Hour)
	}
	f.wantState(t, "after 12 attempts", 0, audit.LogoutUndelivered, 1)
	if n := strings.Count(f.log.String(), "delivery failed"); n != 12 || !strings.Contains(f.log.String(), "status 500") {
		t.Errorf("the log has %d failures, want 12 with the status:\n%s", n, f.log.String())
	}
}

func TestDeliveryToDisabledClientIsAbandoned(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.queue(t, "1", storage.BackchannelLogout)
	storagetest.Must(t, f.Store.DisableClient(t.Context(), "gc1"))
	storagetest.Must(t, f.Send(t.Context()))
	if n := f.received.Load(); n != 0 {
		t.Errorf("the host of a disabled client received %d messages, want 0", n)
	}
	f.wantState(t, "after Send", 0, audit.LogoutUndelivered, 1)
}

// TestUnknownKindDelaysNoOtherDelivery queues a delivery of a kind that this version does not support, as a later
// version may.
func TestUnknownKindDelaysNoOtherDelivery(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.queue(t, "1", "of_a_later_version")
	f.queue(t, "2", storage.BackchannelLogout)
	if err := f.Send(t.Context()); err == nil || !strings.Contains(err.Error(), `"of_a_later_version"`) {
		t.Errorf("Send = %v, want an error that names the unknown kind", err)
	}
	f.wantState(t, "after Send", 1, audit.LogoutDelivered, 1)
}
