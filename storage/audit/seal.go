package audit

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"gatehouse/keyed"
	"gatehouse/storage/db"
)

// sealKey is the purpose of the key of the chain of seals.
const sealKey = "audit-seal"

// maxSealRows is the maximum number of rows of one seal.
const maxSealRows = 2000

// Seal is a MAC over a number of rows and the previous seal. It no longer matches when rows are changed or missing,
// and an attacker without the root key cannot create one that does. Its rows may be retired; the seal stays.
type Seal struct {
	ID         int64 `gorm:"primaryKey;autoIncrement:false"` // 1 and up without a gap; 0 begins the chain
	RowCount   int64
	MAC        []byte     `gorm:"column:mac"` // HMAC-SHA256
	SealedAt   time.Time  `gorm:"serializer:millis"`
	RetiredAt  *time.Time `gorm:"serializer:millis"`
	RetiredMAC []byte     `gorm:"column:retired_mac"`
}

// Head returns the name of a seal, and with it of everything before, for a log line or a copy stored elsewhere.
func (s Seal) Head() string { return hex.EncodeToString(s.MAC) }

// TableName implements gorm's Tabler.
func (Seal) TableName() string { return "audit_seals" }

// hasher computes the MAC of a seal from its rows, in the order of their ids.
type hasher struct{ *keyed.Hash }

func (l *Log) newHasher(seal Seal, previous []byte) hasher {
	h := hasher{keyed.NewHash(l.vault.Key(sealKey))}
	h.AddString("gatehouse audit seal 1")
	h.AddNumber(seal.ID)
	h.AddNumber(seal.RowCount)
	h.AddNumber(db.Millis(seal.SealedAt))
	h.AddString(string(previous))
	return h
}

// add adds a row as it is stored. Its address is included only as ciphertext, so that the key of it may be erased.
func (h hasher) add(row *Row) {
	h.AddString(row.ID)
	h.AddNumber(db.Millis(row.At))
	for _, s := range [...]string{
		row.Event, row.Actor, row.ClientID, row.UserID, row.GrantID, row.Scopes, row.Token, row.Detail, row.RequestID,
		string(row.Personal),
	} {
		h.AddString(s)
	}
}

func (l *Log) retiredMAC(seal Seal, previous []byte) []byte {
	h := keyed.NewHash(l.vault.Key(sealKey))
	h.AddString("gatehouse audit seal retired 1")
	h.AddNumber(seal.ID)
	h.AddNumber(seal.RowCount)
	h.AddNumber(db.Millis(seal.SealedAt))
	h.AddNumber(db.Millis(*seal.RetiredAt))
	h.AddString(string(seal.MAC))
	h.AddString(string(previous))
	return h.Sum(nil)
}

// sealRecord maps Seal to its table.
var sealRecord = db.NewRecord[Seal]("audit_seals")

// SealRows seals the rows that are committed and not sealed, and returns how many. Only one process does so at a time;
// rows that are committed later get the next seal. Call it every second.
func (l *Log) SealRows(ctx context.Context) (int64, error) {
	var total int64
	for {
		var one int
		err := db.QueryRow(ctx, l.db.Read, []any{&one}, "SELECT 1 FROM audit_events WHERE seal IS NULL LIMIT 1")
		if errors.Is(err, db.ErrNotFound) {
			return total, nil
		}
		n := int64(0)
		if err == nil {
			n, err = l.sealBatch(ctx)
		}
		total += n
		if errors.Is(err, db.ErrConflict) || errors.Is(err, db.ErrNotFound) { // another process seals
			return total, db.Wrap("seal the audit log", l.checkOldestUnsealed(ctx))
		}
		if err != nil || n < maxSealRows {
			return total, db.Wrap("seal the audit log", err)
		}
	}
}

// longUnsealed is how long a row may wait for its seal while another session seems to seal.
const longUnsealed = time.Minute

// ErrSealLocked is returned by SealRows when another session has locked the last seal for a while.
var ErrSealLocked = errors.New("another session has locked the last seal")

// checkOldestUnsealed returns ErrSealLocked when no process has sealed for a while: a session that keeps the last seal
// locked would otherwise stop sealing silently.
func (l *Log) checkOldestUnsealed(ctx context.Context) error {
	var at int64
	err := db.QueryRow(ctx, l.db.Read, []any{&at}, "SELECT at FROM audit_events WHERE seal IS NULL ORDER BY id LIMIT 1")
	if errors.Is(err, db.ErrNotFound) {
		return nil
	}
	if age := l.db.Now().Sub(db.FromMillis(at)); err == nil && age > longUnsealed {
		err = fmt.Errorf("rows wait for a seal since %s: %w", age.Round(time.Second), ErrSealLocked)
	}
	return err
}

func (l *Log) sealBatch(ctx context.Context) (n int64, err error) {
	err = l.db.Tx(ctx, func(tx *db.DB) error {
		lock := ""
		if l.db.Engine() == db.Postgres {
			lock = " FOR UPDATE SKIP LOCKED"
		}
		last, err := db.Select[Seal](ctx, tx.Write, "SELECT "+sealRecord.Columns()+" FROM audit_seals WHERE id = (SELECT "+
			"max(id) FROM audit_seals)"+lock)
		if err != nil {
			return err
		}
		if len(last) == 0 {
			var seals int64
			if err := db.QueryRow(ctx, tx.Write, []any{&seals}, "SELECT count(*) FROM audit_seals"); err != nil {
				return err
			}
			if seals == 0 {
				return errors.New("the first seal of the chain is missing: the log was emptied")
			}
			return db.ErrNotFound // another process seals
		}
		next := Seal{ID: last[0].ID + 1, SealedAt: l.db.Now()}
		rows, err := l.WithTx(tx).assignSeal(ctx, next.ID)
		if err != nil {
			return err
		}
		if n = int64(len(rows)); n == 0 {
			return nil
		}
		slices.SortFunc(rows, func(a, b Row) int { return cmp.Compare(a.ID, b.ID) })
		next.RowCount = n
		mac := l.newHasher(next, last[0].MAC)
		for i := range rows {
			mac.add(&rows[i])
		}
		next.MAC = mac.Sum(nil)
		tx.OnCommit(func() { l.lastSeal.Store(next.ID) })
		return db.Insert(ctx, tx.Write, &next)
	})
	return n, err
}

// assignSeal assigns the seal to rows that have none, and returns them.
func (l *Log) assignSeal(ctx context.Context, seal int64) (out []Row, err error) {
	err = rowRecord.QueryColumns(ctx, l.db.Write, func(row *Row) error {
		out = append(out, *row)
		return nil
	}, "UPDATE audit_events SET seal = ? WHERE "+
		l.db.SkipLocked("id", "SELECT id FROM audit_events WHERE seal IS NULL ORDER BY id LIMIT ?")+" RETURNING "+
		rowRecord.Columns(), seal, maxSealRows)
	return out, err
}

// LastSeal returns the head of the chain.
func (l *Log) LastSeal(ctx context.Context) (Seal, error) {
	last, err := db.ListLimit[Seal](ctx, l.db.Read, 1, "id DESC", "1 = 1")
	if err == nil && len(last) == 0 {
		err = db.ErrNotFound
	}
	if err != nil {
		return Seal{}, db.Wrap("read the last seal", err)
	}
	return last[0], nil
}

// ErrTampered is returned by Retire for a seal that does not match its rows, which are evidence and are not deleted.
var ErrTampered = errors.New("a seal does not match its rows, which were not deleted; see `gatehouse audit verify`")

// Retire deletes the rows of every seal that was created before the given time, and keeps the seals. Each seal is
// verified first, so that a changed time does not make this server destroy evidence: ErrTampered. It returns how many
// rows it deleted; a large share of all is reported first. done is called with the progress in seals.
func (l *Log) Retire(ctx context.Context, before time.Time, done func(now, total int64)) (rows int64, err error) {
	if err := l.checkMayDelete(ctx); err != nil {
		return 0, err
	}
	const due = "id > 0 AND retired_at IS NULL AND sealed_at < ?"
	var total, expired, all, count int64
	err = db.QueryRow(ctx, l.db.Write, []any{&total, &expired, &all}, `SELECT
		count(CASE WHEN sealed_at < ? THEN 1 END),
		CAST(coalesce(sum(CASE WHEN sealed_at < ? THEN row_count END), 0) AS BIGINT),
		CAST(coalesce(sum(row_count), 0) AS BIGINT)
		FROM audit_seals WHERE id > 0 AND retired_at IS NULL`, db.Millis(before), db.Millis(before))
	if err != nil || total == 0 {
		return 0, db.Wrap("retire audit rows", err)
	}
	l.db.ReportDeletion(ctx, "audit_events", expired, all)
	for err == nil {
		var seal Seal
		err = l.db.Tx(ctx, func(tx *db.DB) error {
			due, err := db.ListLimit[Seal](ctx, tx.Write, 1, "id", due, db.Millis(before))
			if err != nil || len(due) == 0 {
				return cmp.Or(err, error(db.ErrNotFound))
			}
			seal = due[0]
			previousMAC, err := l.WithTx(tx).verifySeal(ctx, seal)
			if err != nil {
				return err
			}
			now := l.db.Now()
			seal.RetiredAt = &now
			deleted, err := db.ExecCount(ctx, tx.Write, "DELETE FROM audit_events WHERE seal = ?", seal.ID)
			if err != nil {
				return err
			}
			if deleted != seal.RowCount { // a row got this seal concurrently
				return fmt.Errorf("seal %d: %w", seal.ID, ErrTampered)
			}
			rows += deleted
			return db.Exec(ctx, tx.Write, "UPDATE audit_seals SET retired_at = ?, retired_mac = ? WHERE id = ?", db.Millis(now),
				l.retiredMAC(seal, previousMAC), seal.ID)
		})
		if err == nil {
			count++
			done(count, total)
		}
	}
	if errors.Is(err, ErrTampered) {
		return rows, err
	}
	if !errors.Is(err, db.ErrNotFound) {
		return rows, db.Wrap("retire audit rows", err)
	}
	return rows, l.Record(ctx, Event{Type: AuditRetired, Detail: map[string]any{"seals": count, "rows": rows,
		"sealed_before": before.UTC().Format(time.RFC3339)}})
}

// errNotOwner is returned for the role of `gatehouse migrate up --grant-to`.
var errNotOwner error = db.Denied("the role may not delete audit rows")

// checkMayDelete returns errNotOwner if the role may not delete rows. It is called even when no row is due, so that the
// error is noticed early.
func (l *Log) checkMayDelete(ctx context.Context) error {
	if l.db.Engine() != db.Postgres {
		return nil
	}
	var may bool
	err := db.QueryRow(ctx, l.db.Write, []any{&may}, "SELECT has_table_privilege('audit_events', 'DELETE')")
	if err == nil && !may {
		err = errNotOwner
	}
	return db.Wrap("retire audit rows", err)
}

// verifySeal verifies one seal with its rows and the previous seal, whose MAC it returns.
func (l *Log) verifySeal(ctx context.Context, seal Seal) ([]byte, error) {
	previous, err := db.Take[Seal](ctx, l.db.Write, "id = ?", seal.ID-1)
	if err != nil {
		return nil, cmp.Or(ignoreNotFound(err), ErrTampered)
	}
	rows, err := db.List[Row](ctx, l.db.Write, "id", "seal = ?", seal.ID)
	if err != nil {
		return nil, err
	}
	mac := l.newHasher(seal, previous.MAC)
	for i := range rows {
		mac.add(&rows[i])
	}
	if int64(len(rows)) != seal.RowCount || !keyed.Equal(mac.Sum(nil), seal.MAC) {
		return nil, fmt.Errorf("seal %d: %w", seal.ID, ErrTampered)
	}
	return previous.MAC, nil
}

func ignoreNotFound(err error) error {
	if errors.Is(err, db.ErrNotFound) {
		return nil
	}
	return err
}
