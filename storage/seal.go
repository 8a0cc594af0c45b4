package storage

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"slices"
	"time"

	"gatehouse/storage/db"
)

// sealRows is the most rows of one seal.
const sealRows = 2000

// AuditSeal says which audit rows there were: how many, and a MAC over them and the seal before. Rows that are changed or
// missing no longer fit it, and without the root key nobody makes one that does. Its rows may be retired; the seal stays.
type AuditSeal struct {
	ID         int64 `gorm:"primaryKey;autoIncrement:false"` // 1 and up without a gap; 0 is where the chain begins
	RowCount   int64
	MAC        []byte     `gorm:"column:mac"` // HMAC-SHA256
	SealedAt   time.Time  `gorm:"serializer:millis"`
	RetiredAt  *time.Time `gorm:"serializer:millis"`
	RetiredMAC []byte     `gorm:"column:retired_mac"`
}

// Head names a seal, and with it everything before, in a line of the log or a note elsewhere.
func (a AuditSeal) Head() string { return hex.EncodeToString(a.MAC) }

// sealer computes the MAC of a seal from its rows, in the order of their ids.
type sealer struct {
	hash.Hash

	room []byte // for one row
}

func (s *Store) newSealer(seal AuditSeal, before []byte) *sealer {
	h := &sealer{Hash: hmac.New(sha256.New, s.Key(auditSealKey))}
	h.text("gatehouse audit seal 1")
	h.number(seal.ID)
	h.number(seal.RowCount)
	h.number(db.Millis(seal.SealedAt))
	h.text(string(before))
	return h
}

func (h *sealer) number(n int64) { _, _ = h.Write(number(nil, n)) } // a hash never fails

func (h *sealer) text(s string) { _, _ = h.Write(text(nil, s)) }

func number(b []byte, n int64) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(n)) //nolint:gosec // the bits matter, not the sign
}

func text(b []byte, s string) []byte { return append(number(b, int64(len(s))), s...) }

// add adds the row as it is stored. What was personal is there as ciphertext alone, so that its key may be erased.
func (h *sealer) add(e *AuditEvent) {
	b := number(text(h.room[:0], e.ID), db.Millis(e.At))
	for _, s := range [...]string{e.Event, e.Actor, e.ClientID, e.UserID, e.GrantID, e.Scopes, e.Token, e.Detail, e.RequestID} {
		b = text(b, s)
	}
	b = append(number(b, int64(len(e.Personal))), e.Personal...)
	_, _ = h.Write(b)
	h.room = b
}

func (s *Store) retiredMAC(seal AuditSeal, before []byte) []byte {
	h := &sealer{Hash: hmac.New(sha256.New, s.Key(auditSealKey))}
	h.text("gatehouse audit seal retired 1")
	h.number(seal.ID)
	h.number(seal.RowCount)
	h.number(db.Millis(seal.SealedAt))
	h.number(db.Millis(*seal.RetiredAt))
	h.text(string(seal.MAC))
	h.text(string(before))
	return h.Sum(nil)
}

var sealRow = db.NewRecord[AuditSeal]("audit_seals")

// SealAudit seals the audit rows that are committed and not sealed, and returns how many. Of many processes one does so at a
// time; rows that commit later fall into the next seal. Call it every second.
func (s *Store) SealAudit(ctx context.Context) (int64, error) {
	var total int64
	for {
		var one int
		err := db.QueryRow(ctx, s.Read, []any{&one}, "SELECT 1 FROM audit_events WHERE seal IS NULL LIMIT 1")
		if errors.Is(err, ErrNotFound) {
			return total, nil
		}
		n := int64(0)
		if err == nil {
			n, err = s.sealOnce(ctx)
		}
		total += n
		if errors.Is(err, ErrConflict) || errors.Is(err, ErrNotFound) { // another process seals
			return total, db.Wrap("seal the audit log", s.waitingLong(ctx))
		}
		if err != nil || n < sealRows {
			return total, db.Wrap("seal the audit log", err)
		}
	}
}

// longUnsealed is how long a row may wait for its seal although somebody else is said to seal.
const longUnsealed = time.Minute

// ErrSealLocked is returned by SealAudit when another session has locked the last seal for a while.
var ErrSealLocked = errors.New("another session has the last seal locked")

// waitingLong returns an error when nobody has sealed for a while: whoever holds the last seal locked would stop all in silence.
func (s *Store) waitingLong(ctx context.Context) error {
	var at int64
	err := db.QueryRow(ctx, s.Read, []any{&at}, "SELECT at FROM audit_events WHERE seal IS NULL ORDER BY id LIMIT 1")
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if age := s.Now().Sub(db.FromMillis(at)); err == nil && age > longUnsealed {
		err = fmt.Errorf("rows wait for a seal since %s: %w", age.Round(time.Second), ErrSealLocked)
	}
	return err
}

func (s *Store) sealOnce(ctx context.Context) (n int64, err error) {
	err = s.Tx(ctx, func(tx *Store) error {
		lock := ""
		if s.Engine() == Postgres {
			lock = " FOR UPDATE SKIP LOCKED"
		}
		last, err := db.Select[AuditSeal](ctx, tx.Write, "SELECT "+sealRow.Columns()+" FROM audit_seals WHERE id = (SELECT max(id) FROM audit_seals)"+lock)
		if err != nil {
			return err
		}
		if len(last) == 0 {
			var there int64
			if err := db.QueryRow(ctx, tx.Write, []any{&there}, "SELECT count(*) FROM audit_seals"); err != nil {
				return err
			}
			if there == 0 {
				return errors.New("the seal that every chain begins with is missing: the log was emptied")
			}
			return ErrNotFound // another process seals
		}
		next := AuditSeal{ID: last[0].ID + 1, SealedAt: s.Now()}
		rows, err := tx.numbered(ctx, next.ID)
		if err != nil {
			return err
		}
		if n = int64(len(rows)); n == 0 {
			return nil
		}
		slices.SortFunc(rows, func(a, b AuditEvent) int { return cmp.Compare(a.ID, b.ID) })
		next.RowCount = n
		mac := s.newSealer(next, last[0].MAC)
		for i := range rows {
			mac.add(&rows[i])
		}
		next.MAC = mac.Sum(nil)
		s.sealed.Store(next.ID)
		return db.Insert(ctx, tx.Write, &next)
	})
	return n, err
}

// numbered gives rows that have no seal this one, and returns them.
func (s *Store) numbered(ctx context.Context, seal int64) (out []AuditEvent, err error) {
	err = auditRow.QueryColumns(ctx, s.Write, func(e *AuditEvent) error {
		out = append(out, *e)
		return nil
	}, "UPDATE audit_events SET seal = ? WHERE "+
		s.SkipLocked("id", "SELECT id FROM audit_events WHERE seal IS NULL ORDER BY id LIMIT ?")+" RETURNING "+auditRow.Columns(), seal, sealRows)
	return out, err
}

// LastSeal is the head of the chain.
func (s *Store) LastSeal(ctx context.Context) (AuditSeal, error) {
	last, err := db.ListLimit[AuditSeal](ctx, s.Read, 1, "id DESC", "1 = 1")
	if err == nil && len(last) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return AuditSeal{}, db.Wrap("read the last seal", err)
	}
	return last[0], nil
}

// ErrTampered is returned by RetireAudit for a seal that does not fit its rows: nothing that is evidence is deleted.
var ErrTampered = errors.New("a seal does not fit its rows, which stay; see `gatehouse audit verify`")

// RetireAudit lets the rows of every seal go that was made before the given time, whole seals alone, and keeps the seals.
// Each is verified first, or a changed time would have this server destroy the evidence: ErrTampered. It returns how many
// rows; a large share of all is reported first. done is called with the progress in seals.
func (s *Store) RetireAudit(ctx context.Context, before time.Time, done func(now, total int64)) (rows int64, err error) {
	if err := s.mayDelete(ctx); err != nil {
		return 0, err
	}
	const due = "id > 0 AND retired_at IS NULL AND sealed_at < ?"
	var total, expired, all, count int64
	err = db.QueryRow(ctx, s.Write, []any{&total, &expired, &all}, `SELECT
		count(CASE WHEN sealed_at < ? THEN 1 END), CAST(coalesce(sum(CASE WHEN sealed_at < ? THEN row_count END), 0) AS BIGINT), CAST(coalesce(sum(row_count), 0) AS BIGINT)
		FROM audit_seals WHERE id > 0 AND retired_at IS NULL`, db.Millis(before), db.Millis(before))
	if err != nil || total == 0 {
		return 0, db.Wrap("retire audit rows", err)
	}
	s.ReportDeletion(ctx, "audit_events", expired, all)
	for err == nil {
		var seal AuditSeal
		err = s.Tx(ctx, func(tx *Store) error {
			due, err := db.ListLimit[AuditSeal](ctx, tx.Write, 1, "id", due, db.Millis(before))
			if err != nil || len(due) == 0 {
				return cmp.Or(err, error(ErrNotFound))
			}
			seal = due[0]
			before, err := tx.fits(ctx, seal)
			if err != nil {
				return err
			}
			now := s.Now()
			seal.RetiredAt = &now
			deleted, err := db.ExecCount(ctx, tx.Write, "DELETE FROM audit_events WHERE seal = ?", seal.ID)
			if err != nil {
				return err
			}
			if deleted != seal.RowCount { // a row was put under it a moment ago
				return fmt.Errorf("seal %d: %w", seal.ID, ErrTampered)
			}
			rows += deleted
			return db.Exec(ctx, tx.Write, "UPDATE audit_seals SET retired_at = ?, retired_mac = ? WHERE id = ?", db.Millis(now), s.retiredMAC(seal, before), seal.ID)
		})
		if err == nil {
			count++
			done(count, total)
		}
	}
	if errors.Is(err, ErrTampered) {
		return rows, err
	}
	if !errors.Is(err, ErrNotFound) {
		return rows, db.Wrap("retire audit rows", err)
	}
	return rows, s.Record(ctx, Event{Type: AuditRetired, Detail: map[string]any{"seals": count, "rows": rows, "sealed_before": before.UTC().Format(time.RFC3339)}})
}

// errNotOwner is a role that GrantRuntimeRole made.
var errNotOwner error = db.Denied("the role may not delete audit rows")

// mayDelete tells at once what would else be found out when the first row is old enough.
func (s *Store) mayDelete(ctx context.Context) error {
	if s.Engine() != Postgres {
		return nil
	}
	var may bool
	err := db.QueryRow(ctx, s.Write, []any{&may}, "SELECT has_table_privilege('audit_events', 'DELETE')")
	if err == nil && !may {
		err = errNotOwner
	}
	return db.Wrap("retire audit rows", err)
}

// fits verifies one seal against its rows and the seal before, whose MAC it returns.
func (s *Store) fits(ctx context.Context, seal AuditSeal) ([]byte, error) {
	before, err := db.Take[AuditSeal](ctx, s.Write, "id = ?", seal.ID-1)
	if err != nil {
		return nil, cmp.Or(ignoreNotFound(err), ErrTampered)
	}
	rows, err := db.List[AuditEvent](ctx, s.Write, "id", "seal = ?", seal.ID)
	if err != nil {
		return nil, err
	}
	mac := s.newSealer(seal, before.MAC)
	for i := range rows {
		mac.add(&rows[i])
	}
	if int64(len(rows)) != seal.RowCount || !hmac.Equal(mac.Sum(nil), seal.MAC) {
		return nil, fmt.Errorf("seal %d: %w", seal.ID, ErrTampered)
	}
	return before.MAC, nil
}

func ignoreNotFound(err error) error {
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// EraseAudit makes the addresses and user agents in a user's audit rows and browser sessions permanently unreadable.
// The rows stay and their seals remain valid. It returns the number of rows and sessions.
func (s *Store) EraseAudit(ctx context.Context, userID string) (int64, error) {
	n, err := db.ExecBatches(ctx, s.Write, "UPDATE audit_events SET personal_key = NULL WHERE "+
		s.SkipLocked("id", "SELECT id FROM audit_events WHERE (user_id = ? OR actor = ?) AND personal_key IS NOT NULL LIMIT 500"), userID, "user:"+userID)
	if err != nil {
		return n, db.Wrap("erase personal data", err)
	}
	sessions, err := db.ExecBatches(ctx, s.Write, "UPDATE browser_sessions SET personal = NULL, personal_key = NULL WHERE "+
		s.SkipLocked("id", "SELECT id FROM browser_sessions WHERE user_id = ? AND personal_key IS NOT NULL LIMIT 500"), userID)
	if err != nil {
		return n, db.Wrap("erase personal data", err)
	}
	if n+sessions == 0 {
		return 0, nil
	}
	detail := map[string]any{"rows": n, "sessions": sessions}
	return n + sessions, s.Record(ctx, Event{Type: AuditErased, UserID: userID, Detail: detail})
}
