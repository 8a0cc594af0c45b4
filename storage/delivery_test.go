package storage_test

import (
	"fmt"
	"testing"
	"time"

	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// addDelivery inserts a delivery for the fixture's client that is due at the time.
func addDelivery(t *testing.T, f *fixture, url, id string, attempts int, at time.Time) {
	t.Helper()
	storagetest.Exec(t, f.Store, url, fmt.Sprintf(`INSERT INTO deliveries
		(id, kind, client_id, user_id, session_id, attempts, created_at, next_at)
		VALUES ('%s', 'backchannel_logout', '%s', '%s', 'session', %d, 1, %d)`,
		id, f.client.ID, f.user.ID, attempts, at.UnixMilli()))
}

// TestNoMoreDeliveriesAreLeasedThanRequested also covers a plan for a table with a single row, as after a client was
// unreachable.
func TestNoMoreDeliveriesAreLeasedThanRequested(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		now := f.clock.Now()
		addDelivery(t, f, url, "waits", 0, now.Add(time.Hour))
		if f.Engine() == storage.Postgres {
			storagetest.Exec(t, f.Store, url, "VACUUM ANALYZE deliveries") // as autovacuum does
		}
		const all = 30
		for i := range all {
			addDelivery(t, f, url, fmt.Sprint("due ", i), 0, now.Add(-time.Millisecond))
		}
		leased := map[string]bool{}
		for range all / 3 {
			due, err := f.LeaseDeliveries(t.Context(), false, 3, time.Minute)
			storagetest.Must(t, err)
			if len(due) != 3 {
				t.Fatalf("LeaseDeliveries(3) returned %d deliveries, want 3", len(due))
			}
			for _, d := range due {
				leased[d.ID] = true
			}
		}
		if len(leased) != all || leased["waits"] {
			t.Errorf("%d deliveries were leased, want the %d that are due: %v", len(leased), all, leased)
		}
		if due, err := f.LeaseDeliveries(t.Context(), false, 3, time.Minute); err != nil || len(due) != 0 {
			t.Errorf("LeaseDeliveries during the leases = %d deliveries, %v, want none", len(due), err)
		}
	})
}

// TestDeliveryPostponedByWrongClockIsDueAgain sets the clock back after a failed delivery.
func TestDeliveryPostponedByWrongClockIsDueAgain(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		for id, ahead := range map[string]time.Duration{"backs off": time.Hour, "postponed": 100 * 24 * time.Hour} {
			addDelivery(t, f, url, id, 1, f.clock.Now().Add(ahead))
		}
		_, err := f.DeleteExpired(t.Context(), storagetest.UnusedClientTTL)
		storagetest.Must(t, err)
		due, err := f.LeaseDeliveries(t.Context(), false, 10, time.Minute)
		if err != nil || len(due) != 1 || due[0].ID != "postponed" {
			t.Errorf("LeaseDeliveries = %v, %v, want only the postponed delivery", due, err)
		}
	})
}
