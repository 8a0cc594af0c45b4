package audit

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"gatehouse/keyed"
	"gatehouse/storage/db"
)

// Report is the result of Verify.
type Report struct {
	Seals    int64      `json:"seals"`
	Rows     int64      `json:"rows"` // sealed and present
	Retired  int64      `json:"retired_seals"`
	Unsealed int64      `json:"unsealed_rows"`
	Oldest   *time.Time `json:"oldest_unsealed,omitempty"`
	Head     string     `json:"head"`          // of the last seal
	Last     int64      `json:"last"`          // its number
	Compared bool       `json:"head_compared"` // whether a head that was stored elsewhere was passed
	Problems []string   `json:"problems"`      // the first hundred; none: the log is intact
	Count    int        `json:"problem_count"`
}

func (r *Report) addProblem(format string, args ...any) {
	if r.Count++; r.Count <= 100 {
		r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
	}
}

// Verify checks every seal with its rows, in one snapshot of the database. earlier is a head that was stored elsewhere:
// it shows that nothing was removed from the end since. Its number is 0 when there is none. done is called with the
// progress in seals.
func (l *Log) Verify(ctx context.Context, earlier Seal, done func(now, total int64)) (Report, error) {
	report := Report{Problems: []string{}, Compared: earlier.ID > 0}
	err := l.db.Snapshot(ctx, func(snapshot db.Conn) error {
		return (&verification{log: l, snapshot: snapshot, report: &report, earlier: earlier, done: done}).run(ctx)
	})
	return report, db.Wrap("verify the audit log", err)
}

type verification struct {
	log      *Log
	snapshot db.Conn
	report   *Report
	earlier  Seal
	done     func(now, total int64)
	previous []byte // the MAC of the previous seal

	first, last *time.Time // of all rows that were read
}

// includeTime includes the time of a row in first and last.
func (v *verification) includeTime(at time.Time) {
	if v.first == nil || at.Before(*v.first) {
		v.first = &at
	}
	if v.last == nil || at.After(*v.last) {
		v.last = &at
	}
}

func (v *verification) run(ctx context.Context) error {
	var total, first int64
	err := db.QueryRow(ctx, v.snapshot, []any{&total, &first},
		"SELECT count(CASE WHEN id > 0 THEN 1 END), count(CASE WHEN id = 0 THEN 1 END) FROM audit_seals")
	if err != nil {
		return err
	}
	if first == 0 {
		v.report.addProblem("the first seal of the chain is missing: the log was emptied")
	}
	for next := int64(1); ; {
		seals, err := db.ListLimit[Seal](ctx, v.snapshot, 200, "id", "id >= ?", next)
		if err != nil {
			return err
		}
		if len(seals) == 0 {
			break
		}
		if err := v.verifyBatch(ctx, next, seals); err != nil {
			return err
		}
		next = seals[len(seals)-1].ID + 1
		v.done(v.report.Seals, total)
	}
	if v.earlier.ID > v.report.Last {
		v.report.addProblem("the log ends with seal %d, but seal %d was stored elsewhere: the end was removed", v.report.Last,
			v.earlier.ID)
	}
	return errors.Join(v.checkUnsealed(ctx), v.compareRecords(ctx))
}

// recordSlack is how far the creation time of a record may be from that of its audit row.
const recordSlack = 2 * time.Minute

// compareRecords reports a log that begins after the oldest record was created, or ends before the newest was: each of
// them has an audit row, so rows were removed together with their seals. Only a head that was stored elsewhere reveals
// an attacker who also removes the records.
func (v *verification) compareRecords(ctx context.Context) error {
	var union []string
	for _, table := range v.log.recordTables {
		union = append(union, "SELECT created_at FROM "+table)
	}
	var oldest, newest sql.NullInt64
	query := "SELECT min(created_at), max(created_at) FROM (" + strings.Join(union, " UNION ALL ") + ") AS records"
	if err := db.QueryRow(ctx, v.snapshot, []any{&oldest, &newest}, query); err != nil {
		return err
	}
	retired := v.report.Retired > 0
	switch {
	case !oldest.Valid || retired && v.first == nil:
	case v.first == nil:
		v.report.addProblem("the log has no rows, but the database has records that each had one, the first of %s: the log "+
			"was emptied", db.FromMillis(oldest.Int64).Format(time.RFC3339))
	case !retired && db.FromMillis(oldest.Int64).Before(v.first.Add(-recordSlack)):
		v.report.addProblem("the log begins at %s, but the database has records of %s that each had a row: the "+
			"beginning was removed",
			v.first.Format(time.RFC3339), db.FromMillis(oldest.Int64).Format(time.RFC3339))
	case db.FromMillis(newest.Int64).After(v.last.Add(recordSlack)):
		v.report.addProblem("the log ends at %s, but the database has records of %s that each had a row: the end was removed",
			v.last.Format(time.RFC3339), db.FromMillis(newest.Int64).Format(time.RFC3339))
	}
	return nil
}

// verifyBatch checks seals that follow each other. expected is the number of the first.
func (v *verification) verifyBatch(ctx context.Context, expected int64, seals []Seal) error {
	next := 0 // the index in seals of the seal that is being computed
	var mac hasher
	n := int64(0)
	begin := func() {
		if seals[next].ID != expected {
			v.report.addProblem("the seals %d to %d are missing", expected, seals[next].ID-1)
		}
		expected = seals[next].ID + 1
		mac, n = v.log.newHasher(seals[next], v.previous), 0
	}
	end := func() {
		v.compare(seals[next], n, mac.Sum(nil))
		if next++; next < len(seals) {
			begin()
		}
	}
	begin()
	err := rowRecord.Query(ctx, v.snapshot, func(row *Row) error {
		v.includeTime(row.At)
		for next < len(seals) && *row.Seal > seals[next].ID {
			end()
		}
		if next < len(seals) && *row.Seal == seals[next].ID { // else its seal is missing, which was reported
			mac.add(row)
			n++
		}
		return nil
	}, "WHERE seal >= ? AND seal <= ? ORDER BY seal, id", seals[0].ID, seals[len(seals)-1].ID)
	for err == nil && next < len(seals) {
		end()
	}
	return err
}

// compare compares a seal with the number of its rows and their MAC.
func (v *verification) compare(seal Seal, rows int64, mac []byte) {
	r := v.report
	r.Seals++
	r.Rows += rows
	switch {
	case seal.RetiredAt != nil:
		r.Retired++
		if !keyed.Equal(seal.RetiredMAC, v.log.retiredMAC(seal, v.previous)) {
			r.addProblem("seal %d: it is marked as retired, but without the root key, or it or the previous seal was changed "+
				"since", seal.ID)
		}
		if rows > 0 {
			r.addProblem("seal %d: its rows were retired, but %d rows have it", seal.ID, rows)
		}
	case rows != seal.RowCount:
		r.addProblem("seal %d of %s: it has %d rows, but sealed %d", seal.ID, seal.SealedAt.Format(time.RFC3339), rows,
			seal.RowCount)
	case !keyed.Equal(mac, seal.MAC):
		r.addProblem("seal %d of %s: one of its %d rows, or the previous seal, was changed", seal.ID,
			seal.SealedAt.Format(time.RFC3339), rows)
	}
	if seal.ID == v.earlier.ID && !keyed.Equal(seal.MAC, v.earlier.MAC) {
		r.addProblem("seal %d differs from the one that was stored elsewhere: the log was re-created", seal.ID)
	}
	v.previous, r.Last, r.Head = seal.MAC, seal.ID, hex.EncodeToString(seal.MAC)
}

// checkUnsealed checks the rows that no seal covers.
func (v *verification) checkUnsealed(ctx context.Context) error {
	var unknownSeal int64
	query := "SELECT count(*) FROM audit_events WHERE seal < 1 OR seal > ?"
	if err := db.QueryRow(ctx, v.snapshot, []any{&unknownSeal}, query, v.report.Last); err != nil {
		return err
	}
	if unknownSeal > 0 {
		v.report.addProblem("%d rows name a seal that does not exist", unknownSeal)
	}
	var oldest, newest sql.NullInt64
	query = "SELECT count(*), min(at), max(at) FROM audit_events WHERE seal IS NULL"
	if err := db.QueryRow(ctx, v.snapshot, []any{&v.report.Unsealed, &oldest, &newest}, query); err != nil {
		return err
	}
	if oldest.Valid {
		at := db.FromMillis(oldest.Int64)
		v.report.Oldest = &at
		v.includeTime(at)
		v.includeTime(db.FromMillis(newest.Int64))
	}
	return nil
}
