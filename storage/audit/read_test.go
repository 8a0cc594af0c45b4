package audit_test

import (
	"fmt"
	"testing"
	"time"

	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

func TestExportReturnsAllRowsInOrder(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		clock := storagetest.NewClock()
		s := storagetest.Open(t, url, clock)
		for i := range 2300 { // more than two pages, many rows of the same time
			if i%700 == 0 {
				clock.Advance(time.Second)
			}
			e := audit.Event{Type: "test.exported", ClientID: fmt.Sprint(i % 2)}
			storagetest.Must(t, s.Audit.RecordLater(withRequest(t.Context()), e))
		}
		storagetest.Must(t, s.Close(t.Context()))
		s = storagetest.Open(t, url, clock)
		var seen []audit.Row
		storagetest.Must(t, s.Audit.EachRow(t.Context(), audit.Filter{Event: "test.exported", ClientID: "1"},
			func(e audit.Row) error {
				seen = append(seen, e)
				return nil
			}))
		if len(seen) != 1150 {
			t.Fatalf("EachRow returned %d rows, want 1150", len(seen))
		}
		for i := 1; i < len(seen); i++ {
			if seen[i].At.Before(seen[i-1].At) || seen[i].ID == seen[i-1].ID {
				t.Fatalf("row %d, %+v, follows %+v, want another row that is not older", i, seen[i], seen[i-1])
			}
		}
	})
}
