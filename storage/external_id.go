package storage

import (
	"context"
	"time"

	"gatehouse/storage/db"
)

// ExternalID is the id that an imported user has in another system.
type ExternalID struct {
	Source     string    `gorm:"primaryKey"` // a name of the other system
	ExternalID string    `gorm:"primaryKey"`
	UserID     string    // of the user here
	CreatedAt  time.Time `gorm:"serializer:millis;autoCreateTime:false"`
}

var externalIDRow = db.NewRecord[ExternalID]("external_ids")

// CountExternalIDs returns how many users come from a source, by imports and sign-ins.
func (s *Store) CountExternalIDs(ctx context.Context, source string) (n int64, err error) {
	err = db.QueryRow(ctx, s.Read, []any{&n}, "SELECT count(*) FROM external_ids WHERE source = ?", source)
	return n, db.Wrap("count external ids", err)
}
