package audit_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"gatehouse/storage/audit"
	"gatehouse/storage/reqevent"
	"gatehouse/storage/storagetest"
)

func TestRetiringPreservesSealsAndErasingPreservesRows(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		s, clock := sealedLog(t, url)
		if strings.Contains(storagetest.Dump(t, s, url), "192.0.2.77") || strings.Contains(storagetest.Dump(t, s, url), "Browser/77") {
			t.Error("the database has an address in clear")
		}
		events, err := s.Audit.Rows(t.Context(), audit.Filter{UserID: "alice"})
		storagetest.Must(t, err)
		if len(events) != 12 || events[0].Address != "192.0.2.77" || events[0].UserAgent != "Browser/77" || events[0].RequestID != "the-request" {
			t.Fatalf("%d events, the first %+v", len(events), events[0])
		}
		n, err := s.EraseAddresses(t.Context(), "alice")
		if err != nil || n != 12 {
			t.Errorf("erased %d: %v", n, err)
		}
		if events, err = s.Audit.Rows(t.Context(), audit.Filter{UserID: "alice", Event: "test.*"}); err != nil || len(events) != 12 || events[0].Address+events[0].UserAgent != "" {
			t.Errorf("after erasing: %v %+v", err, events)
		}
		if r := verify(t, s, audit.Seal{}); r.Count != 0 {
			t.Errorf("after erasing: %+v", r)
		}
		clock.Advance(48 * time.Hour)
		storagetest.Must(t, s.Audit.Record(t.Context(), storagetest.Event("young")))
		if _, err := s.Audit.SealRows(t.Context()); err != nil {
			t.Fatal(err)
		}
		rows, err := s.Audit.Retire(t.Context(), clock.Now().Add(-24*time.Hour), func(int64, int64) {})
		if err != nil || rows < 12 {
			t.Errorf("retired %d: %v", rows, err)
		}
		if r := verify(t, s, audit.Seal{}); r.Count != 0 || r.Retired != 3 || r.Seals != 4 {
			t.Errorf("after retiring: %+v", r)
		}
		if events, err = s.Audit.Rows(t.Context(), audit.Filter{Event: audit.AuditRetired}); err != nil || len(events) != 1 {
			t.Errorf("the event of the retirement is missing: %v %v", events, err)
		}
		storagetest.Must(t, s.Audit.Record(reqevent.NewContext(t.Context(), &reqevent.Event{Actor: "user:alice",
			Address: "192.0.2.78"}), storagetest.Event("as_actor")))
		if n, err := s.EraseAddresses(t.Context(), "alice"); err != nil || n != 1 {
			t.Errorf("of what she did without being named, %d rows were erased: %v", n, err)
		}
		if again, err := s.Audit.Retire(t.Context(), clock.Now().Add(-24*time.Hour), func(int64, int64) {}); again != 0 || err != nil {
			t.Errorf("again: %d %v", again, err)
		}
	})
}

// TestRetirementDestroysNoEvidence: a seal whose time or rows were changed is not retired, whatever its time is.
func TestRetirementDestroysNoEvidence(t *testing.T) {
	t.Parallel()
	for name, tamper := range map[string]string{
		"a time": "UPDATE audit_seals SET sealed_at = 1 WHERE id = 1", "a row": "UPDATE audit_events SET detail = 'x' " +
			"WHERE seal = 1", "a seal before": "DELETE FROM audit_seals WHERE id = 0",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storagetest.Each(t, func(t *testing.T, url string) {
				s, clock := sealedLog(t, url)
				storagetest.Exec(t, s, url, tamper)
				clock.Advance(48 * time.Hour)
				if n, err := s.Audit.Retire(t.Context(), clock.Now().Add(-24*time.Hour), func(int64, int64) {}); n != 0 || !errors.Is(err, audit.ErrTampered) {
					t.Errorf("%d rows are gone: %v", n, err)
				}
				if r := verify(t, s, audit.Seal{}); r.Count == 0 || r.Rows < 12 {
					t.Errorf("the evidence is gone: %+v", r)
				}
			})
		})
	}
}

// TestRetiredSealCoversNoRows: rows that get a retired seal are found, and so is a change of the seal. The database
// refuses a seal with an absurd number, which would end sealing.
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
				if _, err := s.Audit.SealRows(t.Context()); err != nil {
					t.Fatal(err)
				}
				if _, err := s.Audit.Retire(t.Context(), clock.Now().Add(-24*time.Hour), func(int64, int64) {}); err != nil {
					t.Fatal(err)
				}
				if r := verify(t, s, audit.Seal{}); r.Count != 0 || r.Retired != 3 {
					t.Fatalf("before: %+v", r)
				}
				if err := storagetest.ExecError(t, s, url, "INSERT INTO audit_seals (id, row_count, mac, sealed_at) VALUES (9223372036854775807, 0, '', 0)"); err == nil {
					t.Error("there is a last seal now")
				}
				storagetest.Exec(t, s, url, tamper)
				if r := verify(t, s, audit.Seal{}); r.Count == 0 {
					t.Errorf("it was not found: %+v", r)
				}
			})
		})
	}
}
