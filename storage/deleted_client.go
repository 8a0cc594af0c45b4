package storage

import (
	"context"
	"time"

	"gatehouse/display"
	"gatehouse/storage/db"
)

// deletedClientRetention is how long the name of a deleted client is stored. A client that registers with every
// connection leaves a row each time.
const deletedClientRetention = 90 * 24 * time.Hour

// DeletedClient is what remains of a self-registered client that was deleted, so that a page can name the client that
// must register again.
type DeletedClient struct {
	ID        string
	Name      string
	DeletedAt time.Time `gorm:"serializer:millis"`
}

// DisplayName returns the name for pages, or the client_id when the name is unsuitable.
func (d DeletedClient) DisplayName() string { return display.NameOr(d.Name, d.ID) }

// DeletedClient returns what remains of a deleted client, or ErrNotFound.
func (s *Store) DeletedClient(ctx context.Context, id string) (DeletedClient, error) {
	d, err := db.Take[DeletedClient](ctx, s.Read, "id = ?", id)
	return d, db.Wrap("read deleted client", err)
}

// recordDeletedClient stores the name of a client that the transaction deletes next, if it registered itself. A client
// with a document registers again when it is used, and one of the operator is not replaced by registering.
func (s *Store) recordDeletedClient(ctx context.Context, id string) error {
	return db.Wrap("record deleted client", db.Exec(
		ctx, s.Write, "INSERT INTO deleted_clients (id, name, deleted_at) SELECT id, name, ? FROM clients "+
			"WHERE id = ? AND registration_hash IS NOT NULL ON CONFLICT (id) DO NOTHING",
		db.Millis(s.Now()), id,
	))
}
