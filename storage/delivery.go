package storage

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/google/uuid"
)

// BackchannelLogout is the one kind of delivery so far (OIDC Back-Channel Logout §2.5).
const BackchannelLogout = "backchannel_logout"

// Delivery is something that a client has to be told. It is inserted in the transaction of the change that it tells of
// and leaves once it arrived, so that no crash loses one.
type Delivery struct {
	ID        string
	Kind      string
	ClientID  string
	UserID    string
	SessionID string
	Attempts  int64
	CreatedAt time.Time `gorm:"serializer:millis;autoCreateTime:false"`
	NextAt    time.Time `gorm:"serializer:millis"`
}

// tellAllOfLogout queues the logout of every session that the person used apps in.
func (s *Store) tellAllOfLogout(ctx context.Context, userID string) error {
	return s.tellOfLogout(ctx, "grants.consent_id IN (SELECT id FROM consents WHERE user_id = ? AND ended_at IS NULL)", userID)
}

// tellOfLogout queues a logout for every client and session that the condition finds, where the client wants to know.
func (s *Store) tellOfLogout(ctx context.Context, where string, arg any) error {
	var found []struct{ ClientID, UserID, SessionID string }
	if err := s.write.WithContext(ctx).Raw(`SELECT DISTINCT grants.client_id, grants.user_id, grants.session_id
		FROM grants JOIN clients ON clients.id = grants.client_id
		WHERE clients.backchannel_logout_uri <> '' AND clients.disabled_at IS NULL AND `+where, arg).Scan(&found).Error; err != nil {
		return err
	}
	now := s.now()
	for _, f := range found {
		d := Delivery{ID: uuid.NewString(), Kind: BackchannelLogout, ClientID: f.ClientID, UserID: f.UserID, SessionID: f.SessionID, CreatedAt: now, NextAt: now}
		if err := s.insert(ctx, &d); err != nil {
			return err
		}
	}
	return nil
}

// LeaseDeliveries takes up to limit deliveries whose time has come, those that failed least first, and gives each a lease:
// whoever takes one has that long to send it before any process tries again. Of many processes each gets others.
func (s *Store) LeaseDeliveries(ctx context.Context, limit int, lease time.Duration) ([]Delivery, error) {
	now := s.now()
	// Most of the time there are none, and asking costs no lock.
	var one int
	err := queryRow(ctx, s.read, []any{&one}, "SELECT 1 FROM deliveries WHERE next_at <= ? LIMIT 1", toMillis(now))
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, wrap("look for deliveries", err)
	}
	var out []Delivery
	err = s.write.WithContext(ctx).Raw("UPDATE deliveries SET attempts = attempts + 1, next_at = ? WHERE "+
		s.theseRows("id", "SELECT id FROM deliveries WHERE next_at <= ? ORDER BY attempts, next_at LIMIT ?")+" RETURNING "+deliveryColumns(),
		toMillis(now.Add(lease)), toMillis(now), limit).Scan(&out).Error
	return out, wrap("take deliveries", err)
}

var deliveryColumns = sync.OnceValue(func() string { return columnsOf(&Delivery{}, "deliveries") })

// PostponeDelivery sets when a delivery that failed is tried again.
func (s *Store) PostponeDelivery(ctx context.Context, id string, next time.Time) error {
	return wrap("postpone a delivery", s.exec(ctx, "UPDATE deliveries SET next_at = ? WHERE id = ?", toMillis(next), id))
}

// FinishDelivery removes a delivery that arrived or was given up, and records which.
func (s *Store) FinishDelivery(ctx context.Context, d Delivery, e Event) error {
	e.ClientID, e.UserID = d.ClientID, d.UserID
	return wrap("finish a delivery", s.Tx(ctx, func(tx *Store) error {
		err := tx.execOne(ctx, "DELETE FROM deliveries WHERE id = ?", d.ID)
		if errors.Is(err, ErrNotFound) {
			return nil // another process sent it too, and told so
		}
		if err != nil {
			return err
		}
		return tx.record(ctx, e)
	}))
}

// maxPostponement exceeds the longest delay of a delivery.
const maxPostponement = 2 * time.Hour

// resetPostponedDeliveries makes deliveries due that a process with a clock far ahead has postponed.
func (s *Store) resetPostponedDeliveries(ctx context.Context) error {
	now := s.now()
	return s.exec(ctx, "UPDATE deliveries SET next_at = ? WHERE next_at > ?", toMillis(now), toMillis(now.Add(maxPostponement)))
}
