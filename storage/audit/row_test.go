package audit_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/storage/audit"
	"gatehouse/storage/db"
	"gatehouse/storage/storagetest"
)

// grownRow is an audit row with one more column, as a developer would add it.
type grownRow struct {
	audit.Row `gorm:"embedded"`

	Country string
	SeenAt  *time.Time `gorm:"serializer:millis"`
}

// TestNewColumnIsInEveryStatement adds two columns to the record and the table, and nothing else. Every way to write
// and read rows then has them.
func TestNewColumnIsInEveryStatement(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		s := storagetest.Open(t, url, storagetest.NewClock())
		ctx := t.Context()
		country := "ALTER TABLE audit_events ADD COLUMN country TEXT NOT NULL"
		if s.Engine() == db.SQLite {
			country += " DEFAULT ''"
		}
		storagetest.Must(t, db.Exec(ctx, s.Write, country))
		storagetest.Must(t, db.Exec(ctx, s.Write, "ALTER TABLE audit_events ADD COLUMN seen_at BIGINT"))
		record := db.NewRecord[grownRow]("audit_events")
		now := s.Now()
		row := func(id string) grownRow {
			r := audit.Row{
				ID: id, At: now, Event: "test.grown", ClientID: "c", UserID: "u", GrantID: "g", Scopes: "s",
				Personal: []byte("p"),
			}
			return grownRow{r, "NL", &now}
		}
		want := []grownRow{row("many 1"), row("many 2")}
		storagetest.Must(t, record.InsertMissing(ctx, s.Write, want))
		if s.Engine() == db.Postgres { // a change and its row are one statement
			changed := row("one")
			from := map[string]string{"client_id": "client_id", "user_id": "user_id", "grant_id": "'g'", "scopes": "scopes"}
			query := "WITH changed AS (SELECT 'c' AS client_id, 'u' AS user_id, 's' AS scopes) " +
				record.InsertFrom("changed", from)
			storagetest.Must(t, db.Exec(ctx, s.Write, query, record.Values(&changed, from)...))
			want = append(want, changed)
		}
		var got []grownRow
		storagetest.Must(t, record.Query(ctx, s.Write, func(r *grownRow) error {
			got = append(got, *r)
			return nil
		}, "WHERE event = 'test.grown' ORDER BY id"))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("rows as read (-want +got):\n%s", diff)
		}
	})
}

// TestEveryColumnIsSealed changes each column of a sealed row. A new column must be added to the seal, or to the
// exceptions here.
func TestEveryColumnIsSealed(t *testing.T) {
	t.Parallel()
	s := storagetest.Open(t, storagetest.URL(t, db.SQLite), storagetest.NewClock())
	ctx := t.Context()
	storagetest.Must(t, s.Audit.Record(ctx, audit.Event{Type: audit.TokenIssued, ClientID: "c"}))
	sealRows(t, s)
	problems := func() int {
		report, err := s.Audit.Verify(ctx, audit.Seal{}, func(int64, int64) {})
		storagetest.Must(t, err)
		return report.Count
	}
	if n := problems(); n != 0 {
		t.Fatalf("Verify of an unchanged log reports %d problems, want 0", n)
	}
	for _, column := range strings.Split(db.NewRecord[audit.Row]("audit_events").Columns(), ", ") {
		if column == "personal_key" { // it may be erased
			continue
		}
		other := map[string]string{"at": "at + 1", "seal": "NULL", "personal": "x'00'"}[column]
		if other == "" {
			other = column + " || 'x'"
		}
		storagetest.Must(t, db.Exec(ctx, s.Write, "CREATE TABLE copy AS SELECT * FROM audit_events"))
		storagetest.Must(t, db.Exec(ctx, s.Write, "UPDATE audit_events SET "+column+" = "+other))
		if n := problems(); n == 0 {
			t.Errorf("Verify with another value of %s reports no problem, want one", column)
		}
		storagetest.Must(t, db.Exec(ctx, s.Write, "DELETE FROM audit_events"))
		storagetest.Must(t, db.Exec(ctx, s.Write, "INSERT INTO audit_events SELECT * FROM copy"))
		storagetest.Must(t, db.Exec(ctx, s.Write, "DROP TABLE copy"))
	}
}

func TestEventTypesAreDistinct(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, name := range audit.Types() {
		if seen[name] || !audit.IsType(name) {
			t.Errorf("the type %q is declared twice or not found by a filter", name)
		}
		seen[name] = true
	}
	if len(seen) < 40 {
		t.Errorf("Types returns %d types, want at least 40", len(seen))
	}
	for filter, want := range map[string]bool{
		"": true, "client.*": true, "*": true, "client.none": false, "none*": false,
	} {
		if got := audit.IsType(filter); got != want {
			t.Errorf("IsType(%q) = %t, want %t", filter, got, want)
		}
	}
}
