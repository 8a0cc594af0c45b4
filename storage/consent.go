package storage

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"gatehouse/display"
	"gatehouse/storage/audit"
	"gatehouse/storage/db"
	"gatehouse/storage/reqevent"
)

// Consent is what one user allowed one client. Withdrawing ends it, and with it every grant under it. Allowing the
// client again creates another consent, so that nothing under the old one becomes active again.
type Consent struct {
	ID             string
	UserID         string
	ClientID       string
	Scopes         Strings // of all approvals, with "claim:NAME" for a claim requested by name
	ResourceScopes Strings // ResourceScope values: what the scopes cover
	Refused        Strings // optional ResourceScope values that the user deselected
	// Destination of the last approved response; empty when the operator skips consent.
	RedirectURI string     `gorm:"column:redirect_uri"`
	CreatedAt   time.Time  `gorm:"serializer:millis;autoCreateTime:false"`
	UpdatedAt   time.Time  `gorm:"serializer:millis;autoUpdateTime:false"`
	EndedAt     *time.Time `gorm:"serializer:millis"`
}

var consentRow = db.NewRecord[Consent]("consents")

// Consent returns the active consent of a user for a client, or ErrNotFound.
func (s *Store) Consent(ctx context.Context, userID, clientID string) (Consent, error) {
	var c Consent
	err := db.QueryRow(ctx, s.Read, consentRow.Targets(&c), "SELECT "+consentRow.Columns()+
		" FROM consents WHERE user_id = ? AND client_id = ? AND ended_at IS NULL", userID, clientID)
	return c, db.Wrap("read consent", err)
}

// ResourceScope returns the value that a consent stores for a scope, or "claim:NAME", at one resource. The resource is
// empty if the scope belongs to no API; the scope is empty for access to the API itself. Resource identifiers have no
// '#', so the value is unambiguous.
func ResourceScope(resource, scope string) string { return resource + "#" + scope }

// SplitResourceScope reverses ResourceScope.
func SplitResourceScope(value string) (resource, scope string) {
	resource, scope, _ = strings.Cut(value, "#")
	return resource, scope
}

// scopesOf returns the distinct scopes in the ResourceScope values of a consent.
func scopesOf(values Strings) Strings {
	out := Strings{}
	for _, v := range values {
		if _, scope := SplitResourceScope(v); scope != "" && !out.Has(scope) {
			out = append(out, scope)
		}
	}
	return out
}

// PredatesDescription reports whether the user last agreed before the client had a description of that time, which is
// nil for a client that never changed it.
func (c *Consent) PredatesDescription(describedAt *time.Time) bool {
	return describedAt != nil && c.UpdatedAt.Before(*describedAt)
}

// Consents returns the active consents of a user, the last changed one first.
func (s *Store) Consents(ctx context.Context, userID string) ([]Consent, error) {
	out, err := db.List[Consent](ctx, s.Read, "updated_at DESC", "user_id = ? AND ended_at IS NULL", userID)
	return out, db.Wrap("list consents", err)
}

// CountConsents returns how many users allow the client as it is currently described, at most limit.
func (s *Store) CountConsents(ctx context.Context, c *Client, limit int) (n int, err error) {
	described := int64(0)
	if c.DescribedAt != nil {
		described = db.Millis(*c.DescribedAt)
	}
	// Without a redirect URI the operator skipped the consent page.
	err = db.QueryRow(ctx, s.Read, []any{&n}, `SELECT COUNT(*) FROM (SELECT 1 FROM consents
		WHERE client_id = ? AND ended_at IS NULL AND updated_at >= ? AND redirect_uri <> '' LIMIT ?) AS allowed`,
		c.ID, described, limit)
	return n, db.Wrap("count consents", err)
}

// WithdrawConsent ends a consent and with it every grant and token under it. It returns ErrNotFound when the user has
// no such active consent.
func (s *Store) WithdrawConsent(ctx context.Context, userID, id string) error {
	e := audit.Event{Type: audit.ConsentWithdrawn, UserID: userID}
	return db.Wrap("withdraw consent", s.Tx(ctx, func(tx *Store) error {
		c, err := db.Take[Consent](ctx, tx.Write, "id = ? AND user_id = ?", id, userID)
		if err != nil {
			return err
		}
		if err := db.ExecOne(ctx, tx.Write,
			"UPDATE consents SET ended_at = ? WHERE id = ? AND ended_at IS NULL", db.Millis(s.Now()), id); err != nil {
			return err
		}
		e.ClientID = c.ClientID
		reqevent.FromContext(ctx).ClientID = c.ClientID
		return tx.Audit.Record(ctx, e)
	}))
}

// ErrConsentWithdrawn is returned by IssueCode and RecordApproval when the consent no longer covers the code, or the
// session ended before the user's decision was stored.
var ErrConsentWithdrawn error = db.Outcome("the consent was withdrawn")

// storeConsent returns the id of the active consent that a code is issued under, and creates it if there is none. A
// decision on the consent page is stored: granted scopes are added, refused ones removed. Without one the consent
// stays as it is.
func (s *Store) storeConsent(ctx context.Context, a Approval) (string, error) {
	if a.FromConsentPage { // first, because DeleteClient locks the client before its consents
		if err := s.checkDescription(ctx, a); err != nil {
			return "", err
		}
		if err := s.checkSessionOf(ctx, a.Code); err != nil {
			return "", err
		}
	}
	query, args := "user_id = ? AND client_id = ? AND ended_at IS NULL", []any{a.Code.UserID, a.Code.ClientID}
	if a.ConsentID != "" && !a.FromConsentPage {
		query, args = query+" AND id = ?", append(args, a.ConsentID)
	}
	if s.Engine() == Postgres {
		if err := db.Exec(ctx, s.Write, "SELECT 1 FROM consents WHERE "+query+" FOR UPDATE", args...); err != nil {
			return "", err
		}
	}
	found, err := db.List[Consent](ctx, s.Write, "id", query, args...)
	if err != nil {
		return "", err
	}
	now := s.Now()
	switch {
	case len(found) == 1 && !a.FromConsentPage:
		if a.ConsentID != "" &&
			slices.ContainsFunc(a.Allowed, func(v string) bool { return !found[0].ResourceScopes.Has(v) }) {
			return "", ErrConsentWithdrawn // a part of it was withdrawn in the meantime
		}
		return found[0].ID, nil
	case len(found) == 1:
		return found[0].ID, s.mergeConsent(ctx, found[0], a)
	case a.ConsentID != "" && !a.FromConsentPage:
		return "", ErrConsentWithdrawn
	}
	c := Consent{
		ID: uuid.NewString(), UserID: a.Code.UserID, ClientID: a.Code.ClientID,
		Scopes: Strings{}, ResourceScopes: Strings{}, Refused: Strings{}, CreatedAt: now, UpdatedAt: now,
	}
	if a.FromConsentPage {
		c.Scopes, c.ResourceScopes, c.Refused, c.RedirectURI = scopesOf(a.Allowed), a.Allowed, a.Refused, a.Code.RedirectURI
	}
	if err := db.Insert(ctx, s.Write, &c); err != nil || !a.FromConsentPage {
		return c.ID, err
	}
	return c.ID, s.queueConnectedNotice(ctx, c)
}

// queueConnectedNotice queues the email to a user who allowed a client access for the first time.
func (s *Store) queueConnectedNotice(ctx context.Context, c Consent) error {
	if !s.MailEnabled() {
		return nil
	}
	var name string
	err := db.QueryRow(ctx, s.Write, []any{&name}, "SELECT name FROM clients WHERE id = ?", c.ClientID)
	if err != nil {
		return err
	}
	return s.queueNotice(ctx, MailClientConnected, c.UserID, map[string]string{
		MailValueClient: display.NameOr(name, c.ClientID),
	})
}

// checkDescription locks the client's description until the transaction ends. It returns ErrConsentWithdrawn when the
// client was deleted or no longer has the description that the user was shown.
func (s *Store) checkDescription(ctx context.Context, a Approval) error {
	query := "SELECT COALESCE(described_at, 0) FROM clients WHERE id = ?"
	if s.Engine() == Postgres {
		query += " FOR SHARE"
	}
	var described, shown int64
	if a.DescribedAt != nil {
		shown = db.Millis(*a.DescribedAt)
	}
	err := db.QueryRow(ctx, s.Write, []any{&described}, query, a.Code.ClientID)
	if errors.Is(err, ErrNotFound) || err == nil && described != shown {
		return ErrConsentWithdrawn
	}
	return err
}

// checkSessionOf returns ErrConsentWithdrawn when the session of a decision has ended: an attacker with the session
// must not be able to allow a client afterwards.
func (s *Store) checkSessionOf(ctx context.Context, c AuthorizationCode) error {
	if c.SessionID == "" {
		return nil
	}
	err := s.requireActiveSession(ctx, c.UserID, c.SessionID)
	if errors.Is(err, ErrSessionEnded) {
		err = ErrConsentWithdrawn
	}
	return err
}

// mergeConsent adds an approval to the stored consent of the user.
func (s *Store) mergeConsent(ctx context.Context, c Consent, a Approval) error {
	if c.PredatesDescription(a.DescribedAt) {
		c.ResourceScopes = nil // the client had another description then
	}
	add := func(values, earlier, opposite Strings) Strings {
		values = slices.Clone(values)
		for _, v := range earlier {
			if !values.Has(v) && !opposite.Has(v) {
				values = append(values, v)
			}
		}
		return values
	}
	allowed, refused := add(a.Allowed, c.ResourceScopes, a.Refused), add(a.Refused, c.Refused, a.Allowed)
	return db.Exec(
		ctx, s.Write,
		"UPDATE consents SET scopes = ?, resource_scopes = ?, refused = ?, redirect_uri = ?, updated_at = ? WHERE id = ?",
		scopesOf(allowed), allowed, refused, a.Code.RedirectURI, db.Millis(s.Now()), c.ID,
	)
}
