package storage_test

import (
	"fmt"
	"testing"
	"time"

	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// TestNoMoreDeliveriesAreLeasedThanRequested: not even where the planner expects a single one, as after a client was unreachable.
func TestNoMoreDeliveriesAreLeasedThanRequested(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		w := newFixture(t, url)
		now := w.clock.Now().UnixMilli()
		add := func(id string, next int64) {
			storagetest.Exec(t, w.Store, url, fmt.Sprintf(`INSERT INTO deliveries (id, kind, client_id, user_id, session_id, attempts, created_at, next_at)
				VALUES ('%s', 'backchannel_logout', '%s', '%s', 'session', 0, %d, %d)`, id, w.client.ID, w.user.ID, now, next))
		}
		add("waits", now+3_600_000)
		if w.Engine() == storage.Postgres {
			storagetest.Exec(t, w.Store, url, "VACUUM ANALYZE deliveries") // as autovacuum does
		}
		const all = 30
		for i := range all {
			add(fmt.Sprint("due ", i), now-1)
		}
		taken := map[string]bool{}
		for range all / 3 {
			due, err := w.LeaseDeliveries(t.Context(), 3, time.Minute)
			storagetest.Must(t, err)
			if len(due) != 3 {
				t.Fatalf("%d were leased together", len(due))
			}
			for _, d := range due {
				taken[d.ID] = true
			}
		}
		if len(taken) != all || taken["waits"] {
			t.Errorf("taken are %d: %v", len(taken), taken)
		}
		if due, err := w.LeaseDeliveries(t.Context(), 3, time.Minute); err != nil || len(due) != 0 {
			t.Errorf("%d are taken twice: %v", len(due), err)
		}
	})
}

// TestDeliveryPostponedByWrongClockIsDueAgain sets the clock back after a failed delivery.
func TestDeliveryPostponedByWrongClockIsDueAgain(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		w := newFixture(t, url)
		for id, ahead := range map[string]time.Duration{"backs off": time.Hour, "postponed": 100 * 24 * time.Hour} {
			at := w.clock.Now().Add(ahead).UnixMilli()
			storagetest.Exec(t, w.Store, url, fmt.Sprintf(`INSERT INTO deliveries (id, kind, client_id, user_id, session_id, attempts, created_at, next_at)
				VALUES ('%s', 'backchannel_logout', '%s', '%s', 'session', 1, 1, %d)`, id, w.client.ID, w.user.ID, at))
		}
		_, err := w.DeleteExpired(t.Context())
		storagetest.Must(t, err)
		due, err := w.LeaseDeliveries(t.Context(), 10, time.Minute)
		if err != nil || len(due) != 1 || due[0].ID != "postponed" {
			t.Errorf("due are %v (%v)", due, err)
		}
	})
}
