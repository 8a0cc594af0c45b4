package audit_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/reqevent"
	"gatehouse/storage/storagetest"
)

// retireDay retires the rows that are older than a day.
func retireDay(ctx context.Context, s *storage.Store, clock *storagetest.Clock) (rows int64, err error) {
	return s.Audit.Retire(ctx, clock.Now().Add(-24*time.Hour), func(int64, int64) {})
}

func TestErasingPreservesRows(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		s, _ := sealedLog(t, url)
		dump := storagetest.Dump(t, s, url)
		if strings.Contains(dump, "192.0.2.77") || strings.Contains(dump, "Browser/77") {
			t.Error("the database has an address or a user agent in clear")
		}
		events, err := s.Audit.Rows(t.Context(), audit.Filter{UserID: "alice"})
		storagetest.Must(t, err)
		if len(events) != 12 {
			t.Fatalf("%d rows of alice, want 12", len(events))
		}
		if e := events[0]; e.Address != "192.0.2.77" || e.UserAgent != "Browser/77" || e.RequestID != "the-request" {
			t.Fatalf("the first row is %+v, want the address, user agent and ID of the request", e)
		}
		if n, err := s.EraseAddresses(t.Context(), "alice"); err != nil || n != 12 {
			t.Errorf("EraseAddresses = %d, %v, want 12", n, err)
		}
		events, err = s.Audit.Rows(t.Context(), audit.Filter{UserID: "alice", Event: "test.*"})
		if err != nil || len(events) != 12 || events[0].Address+events[0].UserAgent != "" {
			t.Errorf("rows of alice after the erasure = %+v, %v, want 12 without addresses", events, err)
		}
		if r := verify(t, s, audit.Seal{}); r.Count != 0 {
			t.Errorf("Verify after the erasure = %+v, want no problem", r)
		}
		asActor := reqevent.NewContext(t.Context(), &reqevent.Event{Actor: "user:alice", Address: "192.0.2.78"})
		storagetest.Must(t, s.Audit.Record(asActor, storagetest.Event("as_actor")))
		if n, err := s.EraseAddresses(t.Context(), "alice"); err != nil || n != 1 {
			t.Errorf("EraseAddresses after a row with alice only as the actor = %d, %v, want 1", n, err)
		}
	})
}

func TestRetiringPreservesSeals(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		s, clock := sealedLog(t, url)
		_, err := s.EraseAddresses(t.Context(), "alice") // the seals of erased rows stay valid
		storagetest.Must(t, err)
		clock.Advance(48 * time.Hour)
		storagetest.Must(t, s.Audit.Record(t.Context(), storagetest.Event("young")))
		sealRows(t, s)
		if rows, err := retireDay(t.Context(), s, clock); err != nil || rows < 12 {
			t.Errorf("Retire = %d, %v, want at least 12", rows, err)
		}
		if r := verify(t, s, audit.Seal{}); r.Count != 0 || r.Retired != 3 || r.Seals != 4 {
			t.Errorf("Verify after the retirement = %+v, want no problem, 3 retired seals and 4 seals", r)
		}
		events, err := s.Audit.Rows(t.Context(), audit.Filter{Event: audit.AuditRetired})
		if err != nil || len(events) != 1 {
			t.Errorf("rows of the retirement = %v, %v, want one", events, err)
		}
		if rows, err := retireDay(t.Context(), s, clock); rows != 0 || err != nil {
			t.Errorf("repeated Retire = %d, %v, want 0", rows, err)
		}
	})
}

// TestRetirementDestroysNoEvidence checks that a seal whose time or rows were changed is not retired, whatever its time
// is.
func TestRetirementDestroysNoEvidence(t *testing.T) {
	t.Parallel()
	for name, tamper := range map[string]string{
		"a time":        "UPDATE audit_seals SET sealed_at = 1 WHERE id = 1",
		"a row":         "UPDATE audit_events SET detail = 'x' WHERE seal = 1",
		"a seal before": "DELETE FROM audit_seals WHERE id = 0",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storagetest.Each(t, func(t *testing.T, url string) {
				s, clock := sealedLog(t, url)
				storagetest.Exec(t, s, url, tamper)
				clock.Advance(48 * time.Hour)
				if n, err := retireDay(t.Context(), s, clock); n != 0 || !errors.Is(err, audit.ErrTampered) {
					t.Errorf("Retire = %d, %v, want 0 and ErrTampered", n, err)
				}
				if r := verify(t, s, audit.Seal{}); r.Count == 0 || r.Rows < 12 {
					t.Errorf("Verify = %+v, want a problem and all 12 rows", r)
				}
			})
		})
	}
}

// TestRetiredSealCoversNoRows checks that verification detects rows that were assigned to a retired seal, and changes
// of the seal. The database refuses a seal with the largest possible number, after which there could be no other.
func TestRetiredSealCoversNoRows(t *testing.T) {
	t.Parallel()
	for name, tamper := range map[string]string{
		"a row":   "UPDATE audit_events SET seal = 1 WHERE seal = 4",
		"a count": "UPDATE audit_seals SET row_count = 99 WHERE id = 1",
		"a time":  "UPDATE audit_seals SET sealed_at = 99 WHERE id = 1",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storagetest.Each(t, func(t *testing.T, url string) {
				s, clock := sealedLog(t, url)
				clock.Advance(48 * time.Hour)
				storagetest.Must(t, s.Audit.Record(t.Context(), storagetest.Event("young")))
				sealRows(t, s)
				_, err := retireDay(t.Context(), s, clock)
				storagetest.Must(t, err)
				if r := verify(t, s, audit.Seal{}); r.Count != 0 || r.Retired != 3 {
					t.Fatalf("Verify before the change = %+v, want no problem and 3 retired seals", r)
				}
				const last = "INSERT INTO audit_seals (id, row_count, mac, sealed_at) VALUES (9223372036854775807, 0, '', 0)"
				if err := storagetest.ExecError(t, s, url, last); err == nil {
					t.Error("the database accepted a seal with the largest possible number")
				}
				storagetest.Exec(t, s, url, tamper)
				if r := verify(t, s, audit.Seal{}); r.Count == 0 {
					t.Errorf("Verify after the change = %+v, want a problem", r)
				}
			})
		})
	}
}
