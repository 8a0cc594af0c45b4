package storage

import (
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
