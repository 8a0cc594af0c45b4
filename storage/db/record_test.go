package db_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/storage/db"
	"gatehouse/storage/storagetest"
)

// OldThing is a record with a column of every type that records have.
type OldThing struct {
	ID        string
	Number    int64
	Flag      bool
	Optional  *string
	Choice    *bool
	Hash      []byte
	List      db.Strings
	Maybe     *db.Strings
	TTL       *time.Duration `gorm:"serializer:millis"`
	CreatedAt time.Time      `gorm:"serializer:millis;autoCreateTime:false"`
	EndedAt   *time.Time     `gorm:"serializer:millis"`
	Profile   profile        `gorm:"serializer:json"`
}

type profile struct{ Nickname string }

// Thing is the record with one more column, for which only the field was added.
type Thing struct {
	OldThing
	Added string
}

func TestRecordCoversAddedColumn(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		s := storagetest.Open(t, url, storagetest.NewClock())
		bytes := map[string]string{db.SQLite: "BLOB", db.Postgres: "BYTEA"}[s.Engine()]
		storagetest.Exec(t, s, url, `CREATE TABLE things (id TEXT NOT NULL PRIMARY KEY, number BIGINT NOT NULL,
			flag BOOLEAN NOT NULL, optional TEXT, choice BOOLEAN, hash `+bytes+`, list TEXT NOT NULL, maybe TEXT, ttl BIGINT,
			created_at BIGINT NOT NULL, ended_at BIGINT, profile TEXT NOT NULL, added TEXT NOT NULL)`)
		row := db.NewRecord[Thing]("things")
		if got, want := row.Columns(), db.NewRecord[OldThing]("things").Columns()+", added"; got != want {
			t.Fatalf("Columns() = %s, want %s", got, want)
		}

		text, yes, ttl, at := "text", true, 90*time.Minute, time.UnixMilli(1_790_000_000_123).UTC()
		full := Thing{OldThing: OldThing{
			ID: "full", Number: 7, Flag: true, Optional: &text, Choice: &yes, Hash: []byte{1, 2}, List: db.Strings{"a", "b"},
			Maybe: &db.Strings{"c"}, TTL: &ttl, CreatedAt: at, EndedAt: &at, Profile: profile{"Al"},
		}, Added: "the added column"}
		empty := Thing{OldThing: OldThing{ID: "empty", List: db.Strings{}, CreatedAt: at}}
		storagetest.Must(t, db.Insert(t.Context(), s.Write, &full))
		storagetest.Must(t, db.Insert(t.Context(), s.Write, &empty))
		want := []Thing{empty, full}
		if s.Engine() == db.Postgres {
			// As part of one statement, with the id from a relation.
			from := map[string]string{"id": "copied.id"}
			for _, v := range []Thing{full, empty} {
				query := row.InsertFrom("(SELECT ?::text AS id) AS copied", from)
				v.ID += " copied"
				// The argument of the relation follows those of the columns.
				storagetest.Must(t, db.Exec(t.Context(), s.Write, query, append(row.Values(&v, from), v.ID)...))
				want = append(want, v)
			}
		}
		var got []Thing
		storagetest.Must(t, row.Query(t.Context(), s.Read, func(v *Thing) error {
			got = append(got, *v)
			return nil
		}, "ORDER BY id"))
		slices.SortFunc(want, func(a, b Thing) int { return slices.Compare([]byte(a.ID), []byte(b.ID)) })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("records read (-want +got):\n%s", diff)
		}

		// Leaving columns out by name does not hide a later column.
		short := row.Without("hash", "list")
		columns := strings.Split(short.Columns(), ", ")
		if !slices.Contains(columns, "added") || slices.Contains(columns, "hash") {
			t.Errorf("Without(hash, list) has the columns %v, want added and not hash", columns)
		}
	})
}

func TestRecordRefusesUnknownColumnAndType(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(){
		"column": func() { db.NewRecord[OldThing]("things").Without("no_such_column") },
		"type":   func() { db.NewRecord[struct{ Ratio float64 }]("things") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			defer func() {
				if recover() == nil {
					t.Error("the declaration did not panic")
				}
			}()
			start()
		})
	}
}
