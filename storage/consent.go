package storage

import (
	"context"
	"time"

	"github.com/google/uuid"
)

// Consent is what one person allowed one client: the connected app. Withdrawing ends it, and with it every grant under
// it; allowing the client again makes a new one, so nothing of before comes back to life.
type Consent struct {
	ID        string
	UserID    string
	ClientID  string
	Scopes    Strings    // remembered from all approvals
	CreatedAt time.Time  `gorm:"serializer:millis;autoCreateTime:false"`
	UpdatedAt time.Time  `gorm:"serializer:millis;autoUpdateTime:false"`
	EndedAt   *time.Time `gorm:"serializer:millis"`
}

// Consent returns the live consent of a person for a client, or ErrNotFound.
func (s *Store) Consent(ctx context.Context, userID, clientID string) (Consent, error) {
	c, err := take[Consent](ctx, s.read, "user_id = ? AND client_id = ? AND ended_at IS NULL", userID, clientID)
	return c, wrap("read consent", err)
}

// Consents returns a person's live consents, the latest first.
func (s *Store) Consents(ctx context.Context, userID string) ([]Consent, error) {
	out, err := list[Consent](ctx, s.read, "updated_at DESC", "user_id = ? AND ended_at IS NULL", userID)
	return out, wrap("list consents", err)
}

// WithdrawConsent ends a consent and so every grant and token under it, or returns ErrNotFound when the person has no
// such live consent.
func (s *Store) WithdrawConsent(ctx context.Context, userID, id string, e Event) error {
	e.UserID = userID
	return wrap("withdraw consent", s.Tx(ctx, func(tx *Store) error {
		c, err := take[Consent](ctx, tx.write, "id = ? AND user_id = ?", id, userID)
		if err != nil {
			return err
		}
		if err := tx.execOne(ctx, "UPDATE consents SET ended_at = ? WHERE id = ? AND ended_at IS NULL", toMillis(s.now()), id); err != nil {
			return err
		}
		e.ClientID = c.ClientID
		return tx.record(ctx, e)
	}))
}

// approve finds or makes the live consent, remembers the granted scopes, forgets the refused ones, and returns its id.
func (s *Store) approve(ctx context.Context, userID, clientID string, granted, refused Strings) (string, error) {
	where := "user_id = ? AND client_id = ? AND ended_at IS NULL"
	if s.engine == Postgres {
		if err := s.exec(ctx, "SELECT 1 FROM consents WHERE "+where+" FOR UPDATE", userID, clientID); err != nil {
			return "", err
		}
	}
	now := s.now()
	found, err := list[Consent](ctx, s.write, "id", where, userID, clientID)
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		c := Consent{ID: uuid.NewString(), UserID: userID, ClientID: clientID, Scopes: granted, CreatedAt: now, UpdatedAt: now}
		return c.ID, s.insert(ctx, &c)
	}
	c := found[0]
	scopes := append(Strings{}, granted...)
	same := len(refused) == 0
	for _, name := range c.Scopes {
		if !granted.Has(name) && !refused.Has(name) {
			scopes = append(scopes, name)
		}
	}
	for _, name := range granted {
		same = same && c.Scopes.Has(name)
	}
	if same {
		return c.ID, nil // nothing new to remember: one statement less for an app that signs people in often
	}
	text, err := scopes.Value()
	if err != nil {
		return "", err
	}
	return c.ID, s.exec(ctx, "UPDATE consents SET scopes = ?, updated_at = ? WHERE id = ?", text, toMillis(now), c.ID)
}
