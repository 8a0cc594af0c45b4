package storage

import (
	"context"
	"time"

	"gatehouse/storage/db"
)

// ClientDocument is the state of the client ID metadata document that a client was made from
// (draft-ietf-oauth-client-id-metadata-document). The client_id is the URL of the document.
type ClientDocument struct {
	ClientID  string    `gorm:"primaryKey"`
	ETag      string    `gorm:"column:etag"`
	FetchedAt time.Time `gorm:"serializer:millis"`
	ExpiresAt time.Time `gorm:"serializer:millis"`
}

// IsDocument reports whether the client was made from a client ID metadata document.
func (c *Client) IsDocument() bool { return c.DocumentHash != nil }

// IsUnverified reports whether the operator has not verified the metadata of the client: it registered itself, or was
// made from a client ID metadata document.
func (c *Client) IsUnverified() bool { return c.IsSelfRegistered() || c.IsDocument() }

// ClientDocument returns the state of the document of a client, or ErrNotFound.
func (s *Store) ClientDocument(ctx context.Context, id string) (ClientDocument, error) {
	d, err := db.Take[ClientDocument](ctx, s.Read, "client_id = ?", id)
	return d, db.Wrap("read client document", err)
}

// CreateDocumentClient adds a client that was made from a document. It returns ErrConflict when there is one already.
func (s *Store) CreateDocumentClient(ctx context.Context, c *Client, d ClientDocument) error {
	return s.Tx(ctx, func(tx *Store) error {
		detail := map[string]any{"document": true}
		if c.Preregistered {
			detail["preregistered"] = true
		}
		if err := tx.CreateClient(ctx, c, detail); err != nil {
			return err
		}
		return db.Wrap("create client document", db.Insert(ctx, tx.Write, &d))
	})
}

// ExpireClientDocument marks the stored document of a client as expired and clears its ETag, so that the next use
// fetches it in full.
func (s *Store) ExpireClientDocument(ctx context.Context, id string) error {
	return db.Wrap("expire client document", db.Exec(
		ctx, s.Write, "UPDATE client_documents SET etag = '', expires_at = ? WHERE client_id = ?", db.Millis(s.Now()), id,
	))
}

// RenewClientDocument stores that the document of a client was fetched again, unless its state is no longer the one
// before the fetch: if the operator has changed the client since, the next use must fetch the document. The client
// itself is stored with UpdateClient when the document has changed.
func (s *Store) RenewClientDocument(ctx context.Context, before, d ClientDocument) error {
	return db.Wrap("renew client document", db.Exec(
		ctx, s.Write, `UPDATE client_documents SET etag = ?, fetched_at = ?, expires_at = ?
			WHERE client_id = ? AND etag = ? AND fetched_at = ? AND expires_at = ?`,
		d.ETag, db.Millis(d.FetchedAt), db.Millis(d.ExpiresAt),
		d.ClientID, before.ETag, db.Millis(before.FetchedAt), db.Millis(before.ExpiresAt),
	))
}
