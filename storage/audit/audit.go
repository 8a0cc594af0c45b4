// Package audit is the audit log: one row for every event, sealed in a chain that shows whether rows were changed or
// removed. It decides what a row contains, how rows of frequent events are batched and limited, and what the operator
// can do to the log. Which changes there are, and the transactions of their rows, is left to package storage.
package audit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"gatehouse/storage/db"
	"gatehouse/storage/reqevent"
	"gatehouse/storage/vault"
)

// ErrNoEvent is returned for an audit event without a type.
var ErrNoEvent error = db.Outcome("a change without an audit event")

// Log is the audit log of one database. Within a transaction, use WithTx.
type Log struct {
	db    *db.DB
	vault *vault.Vault
	*state
}

type state struct {
	log    *slog.Logger
	counts counts
	batch  *batch
	// recordTables have records that are each created in one transaction with an audit row.
	recordTables []string
	lastSeal     atomic.Int64 // that this process has created
}

// New returns the audit log of a database. recordTables have records that are each created in one transaction with an
// audit row, which Verify compares with the log. Start begins the background work.
func New(d *db.DB, v *vault.Vault, recordTables ...string) *Log {
	l := &Log{d, v, &state{log: d.Log, recordTables: recordTables}}
	l.batch = newBatch(l)
	return l
}

// WithTx returns the log within a transaction.
func (l *Log) WithTx(tx *db.DB) *Log { return &Log{tx, l.vault.WithTx(tx), l.state} }

// Start begins to write queued rows. Close ends it.
func (l *Log) Start(ctx context.Context) { l.batch.start(ctx) }

// Close writes what is queued, for no longer than ctx allows.
func (l *Log) Close(ctx context.Context) error { return l.batch.close(ctx) }

// CheckWritten returns ErrUnavailable when this process has not written its queued rows for a while.
func (l *Log) CheckWritten() error { return l.batch.written.Check("write queued audit rows") }

// Event is what an audit row contains in addition to its request and time. The method that makes a change sets Type.
type Event struct {
	Type     string
	ClientID string
	UserID   string
	GrantID  string
	Scopes   string
	Token    string         // a reference by TokenReference, never the token
	Detail   map[string]any // small, without secrets
	Claimed  bool           // ClientID is the claim of an unauthenticated caller, not the actor
}

// TokenReference returns the name of a token, code or secret in the audit log, which does not reveal it: the first 16
// hexadecimal digits of its SHA-256. Given a token, an operator can find its rows.
func TokenReference(token string) string {
	sum := sha256.Sum256([]byte(token))
	return HashReference(sum[:])
}

// HashReference does the same as TokenReference for a token whose SHA-256 the caller has.
func HashReference(hash []byte) string { return hex.EncodeToString(hash[:min(8, len(hash))]) }

// Row is a stored audit row. Address and UserAgent are personal data, stored only in Personal, sealed under a key
// derived from PersonalKey.
type Row struct {
	ID          string    `json:"id"`
	At          time.Time `json:"at" gorm:"serializer:millis"`
	Event       string    `json:"event"`
	Actor       string    `json:"actor"`
	ClientID    string    `json:"client_id,omitempty"`
	UserID      string    `json:"user_id,omitempty"`
	GrantID     string    `json:"grant_id,omitempty"`
	Scopes      string    `json:"scopes,omitempty"`
	Token       string    `json:"token,omitempty"`
	Detail      string    `json:"detail,omitempty"`
	RequestID   string    `json:"request_id,omitempty"`
	Address     string    `json:"address,omitempty" gorm:"-"`
	UserAgent   string    `json:"user_agent,omitempty" gorm:"-"`
	Personal    []byte    `json:"-"`
	PersonalKey []byte    `json:"-"`
	Seal        *int64    `json:"seal,omitempty"`
}

// TableName implements gorm's Tabler.
func (Row) TableName() string { return "audit_events" }

// rowRecord maps Row to its table. All statements get their columns from it.
var rowRecord = db.NewRecord[Row]("audit_events")

// NewRow returns the row of an event of the request in ctx. Client IDs are made valid for every database.
func (l *Log) NewRow(ctx context.Context, e Event) (Row, error) {
	if e.Type == "" {
		return Row{}, ErrNoEvent
	}
	request := reqevent.FromContext(ctx)
	row := Row{
		ID: uuid.Must(uuid.NewV7()).String(), At: l.db.Now(), Event: e.Type, Actor: request.Actor,
		ClientID: reqevent.CleanString(e.ClientID), UserID: e.UserID, GrantID: e.GrantID, Scopes: e.Scopes, Token: e.Token,
		RequestID: request.RequestID,
	}
	if row.Actor == "" {
		row.Actor = "anonymous"
		if row.ClientID != "" && !e.Claimed {
			row.Actor = "client:" + row.ClientID
		}
	}
	if len(e.Detail) > 0 {
		b, err := json.Marshal(e.Detail)
		if err != nil {
			return Row{}, err
		}
		row.Detail = string(b)
	}
	var err error
	row.PersonalKey, row.Personal, err = l.SealAddress(row.ID, request.Address, request.UserAgent)
	return row, err
}

// ChangeRow is a statement that writes the audit row of a change as part of the statement of the change, on
// PostgreSQL. The columns with the client, the user and the grant come from the row that changed; the others are
// arguments.
type ChangeRow struct {
	Query string
	from  map[string]string
}

// NewChangeRow returns the statement for a CTE that returns the row that changed. grant is its column with the grant's
// id.
func NewChangeRow(cte, grant string) ChangeRow {
	from := map[string]string{"client_id": "client_id", "user_id": "user_id", "grant_id": grant, "scopes": "scopes"}
	return ChangeRow{rowRecord.InsertFrom(cte, from), from}
}

// Args returns the arguments of the statement for a row.
func (c ChangeRow) Args(row *Row) []any { return rowRecord.Values(row, c.from) }

// Insert writes a row in the transaction of its change.
func (l *Log) Insert(ctx context.Context, row *Row) error {
	if err := db.Insert(ctx, l.db.Write, row); err != nil {
		return err
	}
	l.Count(row.Event)
	return nil
}

// Record writes the row of an event: that of a change in its transaction, that of a failed sign-in on its own.
func (l *Log) Record(ctx context.Context, e Event) error {
	row, err := l.NewRow(ctx, e)
	if err != nil {
		return err
	}
	return db.Wrap("record an event", l.Insert(ctx, &row))
}

// RecordAll does the same as Record for the events of one transaction.
func (l *Log) RecordAll(ctx context.Context, events []Event) error {
	rows := make([]Row, len(events))
	for i, e := range events {
		var err error
		if rows[i], err = l.NewRow(ctx, e); err != nil {
			return err
		}
	}
	if err := rowRecord.InsertAll(ctx, l.db.Write, rows); err != nil {
		return db.Wrap("record events", err)
	}
	for _, e := range events {
		l.Count(e.Type)
	}
	return nil
}

// RecordLater queues the row of an issued token, so that the request does not wait for it. When the queue is full it
// waits up to a second and then returns ErrBusy. A crash may lose the last second of these rows, and nothing else.
func (l *Log) RecordLater(ctx context.Context, e Event) error {
	row, err := l.NewRow(ctx, e)
	if err != nil {
		return err
	}
	if err := l.db.CheckFile(); err != nil {
		return err
	}
	if err := l.batch.add(ctx, row); err != nil {
		return err
	}
	l.Count(e.Type)
	return nil
}

// Count counts an event of a type for Stats, within a transaction when it commits.
func (l *Log) Count(eventType string) { l.db.OnCommit(func() { l.counts.add(eventType) }) }
