package storage

import (
	"context"
	"errors"
	"time"

	"gatehouse/keyed"
	"gatehouse/storage/audit"
	"gatehouse/storage/db"
)

// GrantTerms is what a user granted to a client and under which sign-in. A code has them until a grant takes them
// over.
type GrantTerms struct {
	ConsentID   string
	ClientID    string
	UserID      string
	ClientEpoch int64
	UserEpoch   int64
	Scopes      Strings
	Resources   Strings
	Claims      string // those requested by name and allowed, as JSON (OIDC Core §5.5); empty for none
	SessionID   string // the browser session, whose end ends the grant unless Offline
	Offline     bool
	AuthTime    time.Time `gorm:"serializer:millis"`
	ACR         string    `gorm:"column:acr"`
	AMR         Strings   `gorm:"column:amr"`
}

// AuthorizationCode is a code and what its grant is created from (RFC 6749 §4.1.2).
type AuthorizationCode struct {
	Hash []byte `gorm:"primaryKey"` // SHA-256
	GrantTerms
	RedirectURI  string
	RedirectSent bool       // whether the request had the redirect URI
	Nonce        string     // for the ID token (OIDC Core §3.1.2.1)
	Challenge    *string    // S256 (RFC 7636), NULL when none was sent
	CreatedAt    time.Time  `gorm:"serializer:millis;autoCreateTime:false"`
	ExpiresAt    time.Time  `gorm:"serializer:millis"`
	ConsumedAt   *time.Time `gorm:"serializer:millis"`
	GrantID      *string    // the grant that the first use created
}

// issuedRow and redeemedRow write the audit row in the statement of its change (PostgreSQL).
var (
	issuedRow   = audit.NewChangeRow("issued", "''")
	redeemedRow = audit.NewChangeRow("redeemed", "grant_id")
)

var (
	codeRow = db.NewRecord[AuthorizationCode]("authorization_codes")
	// codeFromConsent are the columns of a code that issueCodeInOneStatement takes from the consent.
	codeFromConsent = map[string]string{"consent_id": "id"}
	insertCode      = codeRow.InsertFrom("consents", codeFromConsent)
	termsRow        = db.NewRecord[GrantTerms]("authorization_codes")
)

// activeCondition returns the condition that nothing has ended a code or grant of the table from outside: its
// consent, client and user, the membership in a group that the client requires and, without offline_access, its browser
// session. Ending one of those changes that one row.
func activeCondition(table string) string {
	return `EXISTS (SELECT 1 FROM consents
			JOIN clients ON clients.id = consents.client_id
			JOIN users ON users.id = consents.user_id
			WHERE consents.id = ` + table + `.consent_id AND consents.ended_at IS NULL
			AND clients.disabled_at IS NULL AND clients.epoch = ` + table + `.client_epoch
			AND users.disabled_at IS NULL AND users.epoch = ` + table + `.user_epoch
			AND ` + hasRequiredGroup("users.id") + `)
		AND (` + table + `.offline OR NOT EXISTS (SELECT 1 FROM browser_sessions
			WHERE browser_sessions.id = ` + table + `.session_id AND browser_sessions.ended_at IS NOT NULL))`
}

// Approval is a user's decision to grant a client access.
type Approval struct {
	RequestID       string  // of the stored request, empty when none was stored
	Allowed         Strings // the ResourceScope values that the code needs from the consent
	Refused         Strings // optional ResourceScope values that the user deselected
	Code            AuthorizationCode
	FromConsentPage bool       // whether the user decided on the consent page now; only then is the consent changed
	DescribedAt     *time.Time // the DescribedAt of the client that the user was shown
	ConsentID       string     // the active consent that it relies on otherwise; empty when the operator skips consent
}

// IssueCode records an approval and stores its code, in one transaction. It sets Code.ConsentID. A request is decided
// once: the second decision returns ErrConsumed. ErrConsentWithdrawn means that the consent was withdrawn, or that
// the client no longer has the description that the user was shown.
func (s *Store) IssueCode(ctx context.Context, a Approval) error {
	e := audit.Event{
		Type: audit.CodeIssued, ClientID: a.Code.ClientID, UserID: a.Code.UserID,
		Scopes: a.Code.Scopes.String(), Token: audit.HashReference(a.Code.Hash),
	}
	issue := func() error {
		return s.Tx(ctx, func(tx *Store) error {
			if a.RequestID != "" {
				if err := tx.decideRequest(ctx, a.RequestID); err != nil {
					return err
				}
			}
			id, err := tx.storeConsent(ctx, a)
			if err != nil {
				return err
			}
			a.Code.ConsentID = id
			if a.FromConsentPage {
				consentEvent := e
				consentEvent.Type = audit.ConsentGiven
				if err := tx.Audit.Record(ctx, consentEvent); err != nil {
					return err
				}
			}
			if err := db.Insert(ctx, tx.Write, &a.Code); err != nil {
				return err
			}
			return tx.Audit.Record(ctx, e)
		})
	}
	if s.Engine() == Postgres && a.RequestID == "" && !a.FromConsentPage && a.ConsentID != "" {
		err := s.issueCodeInOneStatement(ctx, a, e)
		if !errors.Is(err, ErrNotFound) {
			return db.Wrap("issue code", err)
		}
		// The consent has changed; the transaction finds out how.
	}
	err := issue()
	if errors.Is(err, ErrConflict) { // of two concurrent first approvals the other one has created the consent
		err = issue()
	}
	return db.Wrap("issue code", err)
}

// RecordApproval records what the user allowed on the consent page of a stored request that still waits for a sign-in,
// in one transaction. It returns ErrConsumed when the request was already decided or now belongs to another session,
// and ErrConsentWithdrawn when the description of the client is no longer the one that the user was shown.
func (s *Store) RecordApproval(ctx context.Context, a Approval) error {
	consentEvent := audit.Event{
		Type: audit.ConsentGiven, ClientID: a.Code.ClientID, UserID: a.Code.UserID, Scopes: a.Code.Scopes.String(),
	}
	return db.Wrap("record approval", s.Tx(ctx, func(tx *Store) error {
		err := db.ExecOne(
			ctx, tx.Write,
			`UPDATE authorization_requests SET session_id = ?, approved_at = ?
			WHERE id = ? AND session_id IN ('', ?) AND decided_at IS NULL`,
			a.Code.SessionID, db.Millis(s.Now()), a.RequestID, a.Code.SessionID,
		)
		if errors.Is(err, ErrNotFound) {
			return ErrConsumed
		}
		if err != nil {
			return err
		}
		if _, err := tx.storeConsent(ctx, a); err != nil {
			return err
		}
		return tx.Audit.Record(ctx, consentEvent)
	}))
}

// issueCodeInOneStatement does the same as IssueCode for a user who needs no page. It returns ErrNotFound when the
// consent, or a part of it, was withdrawn.
func (s *Store) issueCodeInOneStatement(ctx context.Context, a Approval, e audit.Event) error {
	row, err := s.Audit.NewRow(ctx, e)
	if err != nil {
		return err
	}
	args := append(codeRow.Values(&a.Code, codeFromConsent),
		a.ConsentID, a.Code.UserID, a.Code.ClientID, scopesOf(a.Allowed), a.Allowed)
	var one int
	err = db.QueryRow(ctx, s.Write, []any{&one}, `WITH issued AS (`+insertCode+`
			WHERE id = ? AND user_id = ? AND client_id = ? AND ended_at IS NULL
				AND string_to_array(scopes, ' ') @> string_to_array(?, ' ')
				AND string_to_array(resource_scopes, ' ') @> string_to_array(?, ' ')
			RETURNING client_id, user_id, scopes),
		recorded AS (`+issuedRow.Query+`)
		SELECT 1 FROM issued`, append(args, issuedRow.Args(&row)...)...)
	if err == nil {
		s.Audit.Count(e.Type)
	}
	return err
}

// Code returns a stored code, consumed or not, or ErrNotFound.
func (s *Store) Code(ctx context.Context, hash []byte) (AuthorizationCode, error) {
	c, err := db.Take[AuthorizationCode](ctx, s.Write, "hash = ?", hash)
	return c, db.Wrap("read code", err)
}

// Redemption is the exchange of a code for a grant.
type Redemption struct {
	Hash        []byte
	ClientID    string
	Challenge   string  // S256 of the verifier, empty when none was sent
	RedirectURI *string // as sent, nil when it was not

	GrantID          string
	GrantExpiresAt   time.Time
	RefreshHash      []byte // SHA-256 of the first refresh token, nil for none
	RefreshExpiresAt time.Time
}

// RedeemCode consumes a code and creates its grant in one transaction. A conditional UPDATE lets exactly one of several
// concurrent attempts succeed. When the code is unknown, expired, revoked or fails a binding, it changes nothing and
// returns a *RefusalError, which is ErrNotFound. When the code was used before and every binding matches, it revokes
// the grant of the first use and returns ErrConsumed (RFC 6749 §4.1.2).
func (s *Store) RedeemCode(ctx context.Context, r Redemption) (Grant, error) {
	e := audit.Event{Type: audit.CodeRedeemed}
	now := s.Now()
	binding, args := r.bindingCondition()
	if s.Engine() == Postgres {
		grant, err := s.redeemCodeInOneStatement(ctx, r, e, now, binding, args)
		if errors.Is(err, ErrNotFound) {
			return Grant{}, s.classifyCode(ctx, r)
		}
		return grant, db.Wrap("redeem code", err)
	}
	var grant Grant
	redeemed := false
	err := s.Tx(ctx, func(tx *Store) error {
		args := append([]any{db.Millis(now), r.GrantID, r.Hash, r.ClientID, db.Millis(now)}, args...)
		codes, err := db.Select[AuthorizationCode](
			ctx, tx.Write, `UPDATE authorization_codes SET consumed_at = ?, grant_id = ?
			WHERE hash = ? AND client_id = ? AND consumed_at IS NULL AND expires_at > ? AND `+binding+`
				AND `+activeCondition("authorization_codes")+`
			RETURNING `+codeRow.Columns(), args...)
		if err != nil {
			return err
		}
		if redeemed = len(codes) == 1; !redeemed {
			return nil
		}
		grant = newGrant(codes[0], r, now)
		if err := db.Insert(ctx, tx.Write, &grant); err != nil {
			return err
		}
		e.ClientID, e.UserID, e.GrantID = grant.ClientID, grant.UserID, grant.ID
		e.Scopes, e.Token = grant.Scopes.String(), audit.HashReference(r.Hash)
		return tx.Audit.Record(ctx, e)
	})
	if err != nil {
		return Grant{}, db.Wrap("redeem code", err)
	}
	if !redeemed {
		return Grant{}, s.classifyCode(ctx, r)
	}
	return grant, nil
}

// redeemCodeInOneStatement does the same as RedeemCode. It returns ErrNotFound when the code cannot be redeemed.
func (s *Store) redeemCodeInOneStatement(
	ctx context.Context, r Redemption, e audit.Event, now time.Time, binding string, bound []any,
) (Grant, error) {
	e.ClientID, e.Token = r.ClientID, audit.HashReference(r.Hash)
	row, err := s.Audit.NewRow(ctx, e)
	if err != nil {
		return Grant{}, err
	}
	var refreshHash, refreshExpires any
	if r.RefreshHash != nil {
		refreshHash, refreshExpires = r.RefreshHash, db.Millis(r.RefreshExpiresAt)
	}
	args := append([]any{db.Millis(now), r.GrantID, r.Hash, r.ClientID, db.Millis(now)}, bound...)
	args = append(args, db.Millis(now), db.Millis(r.GrantExpiresAt), refreshHash, refreshExpires)
	var c AuthorizationCode
	terms := termsRow.Columns()
	err = db.QueryRow(ctx, s.Write, append(termsRow.Targets(&c.GrantTerms), &c.Nonce), `WITH redeemed AS (
			UPDATE authorization_codes SET consumed_at = ?, grant_id = ?
			WHERE hash = ? AND client_id = ? AND consumed_at IS NULL AND expires_at > ? AND `+binding+`
				AND `+activeCondition("authorization_codes")+`
			RETURNING `+terms+`, nonce, grant_id),
		granted AS (
			INSERT INTO grants (id, `+terms+`, created_at, expires_at, current_hash, refresh_expires_at)
			SELECT grant_id, `+terms+`, ?::bigint, ?::bigint, ?::bytea, ?::bigint FROM redeemed),
		recorded AS (`+redeemedRow.Query+`)
		SELECT `+terms+`, nonce FROM redeemed`, append(args, redeemedRow.Args(&row)...)...)
	if err != nil {
		return Grant{}, err
	}
	s.Audit.Count(e.Type)
	return newGrant(c, r, now), nil
}

// bindingCondition returns the condition on the PKCE challenge and the redirect URI. A verifier without a challenge
// is refused like an invalid one, or an attacker could remove PKCE from a request unnoticed (RFC 9700 §4.8.2).
func (r Redemption) bindingCondition() (string, []any) {
	var args []any
	where := "challenge IS NULL"
	if r.Challenge != "" {
		where = "challenge = ?"
		args = append(args, r.Challenge)
	}
	if r.RedirectURI == nil {
		return where + " AND (challenge IS NOT NULL OR NOT redirect_sent)", args
	}
	return where + " AND redirect_uri = ?", append(args, *r.RedirectURI)
}

// matches reports whether the client and every binding are those of the code.
func (r Redemption) matches(c AuthorizationCode) bool {
	if c.ClientID != r.ClientID {
		return false
	}
	if r.RedirectURI != nil && *r.RedirectURI != c.RedirectURI ||
		r.RedirectURI == nil && c.RedirectSent && c.Challenge == nil {
		return false
	}
	if c.Challenge == nil {
		return r.Challenge == ""
	}
	return keyed.Equal([]byte(*c.Challenge), []byte(r.Challenge))
}

// classifyCode returns why a redemption changed no row, from a read on the writer, and revokes the grant on a replay.
func (s *Store) classifyCode(ctx context.Context, r Redemption) error {
	c, err := s.Code(ctx, r.Hash)
	if errors.Is(err, ErrNotFound) {
		return &RefusalError{Reason: "an unknown code"}
	}
	if err != nil {
		return err
	}
	if !r.matches(c) || c.ConsumedAt == nil || c.GrantID == nil {
		return s.refuseCode(ctx, r, c)
	}
	// Also when the caller has disconnected: an attacker must not avoid the revocation that way.
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeTimeout)
	defer cancel()
	err = s.revokeGrant(limited, *c.GrantID, "code_replayed", audit.Event{
		Type: audit.CodeReplayed, ClientID: c.ClientID, UserID: c.UserID, Scopes: c.Scopes.String(),
		Token: audit.HashReference(r.Hash),
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	return ErrConsumed
}
