package storage

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Origin is where a request came from. Middleware sets it once, and it is the only value carried in a context.
type Origin struct {
	Actor     string // "user:…", "cli", "system"; empty for a protocol request, whose actor is its client
	Address   string
	UserAgent string
	RequestID string
}

type originKey struct{}

// WithOrigin returns a context that carries o. What the caller wrote into its headers is cut and made valid text here,
// once: PostgreSQL refuses anything else, and with the audit row the change it belongs to.
func WithOrigin(ctx context.Context, o Origin) context.Context {
	o.UserAgent, o.Address = plainText(o.UserAgent), plainText(o.Address)
	return context.WithValue(ctx, originKey{}, o)
}

// OriginOf returns the context's origin, or that of the system itself.
func OriginOf(ctx context.Context) Origin {
	if o, ok := ctx.Value(originKey{}).(Origin); ok {
		return o
	}
	return Origin{Actor: "system"}
}

// The types of audit events.
const (
	ClientCreated       = "client.created"
	ClientUpdated       = "client.updated"
	ClientDisabled      = "client.disabled"
	ClientEnabled       = "client.enabled"
	ClientDeleted       = "client.deleted"
	ClientSecretAdded   = "client.secret_added"
	ClientTokensRevoked = "client.tokens_revoked"
	ClientRegistered    = "client.registered"
	UserCreated         = "user.created"
	UserUpdated         = "user.updated"
	UserDisabled        = "user.disabled"
	UserEnabled         = "user.enabled"
	UserDeleted         = "user.deleted"
	UserPasswordSet     = "user.password_set"
	UserTokensRevoked   = "user.tokens_revoked"
	UserSignedIn        = "user.signed_in"
	UserSignInFailed    = "user.sign_in_failed"
	SessionEnded        = "session.ended"
	ScopeCreated        = "scope.created"
	ScopeUpdated        = "scope.updated"
	ScopeDeleted        = "scope.deleted"
	ResourceCreated     = "resource.created"
	ResourceUpdated     = "resource.updated"
	ResourceDeleted     = "resource.deleted"
	ConsentGiven        = "consent.given"
	ConsentDenied       = "consent.denied"
	ConsentWithdrawn    = "consent.withdrawn"
	CodeIssued          = "code.issued"
	CodeRedeemed        = "code.redeemed"
	CodeReplayed        = "code.replayed"
	RefreshRotated      = "refresh_token.rotated"
	RefreshReused       = "refresh_token.reused"
	GrantRevoked        = "grant.revoked"
	TokenIssued         = "access_token.issued"
	TokenRevoked        = "access_token.revoked"
	KeyCreated          = "key.created"
	KeyRotated          = "key.rotated"
	KeyRevoked          = "key.revoked"
	RegistrationOpened  = "registration_token.created"
	RegistrationClosed  = "registration_token.deleted"
	LogoutDelivered     = "logout.delivered"
	LogoutUndelivered   = "logout.undelivered"
)

// Event is what an audit row says beyond its origin and time. Every changing method takes one, so none is forgotten.
type Event struct {
	Type     string
	ClientID string
	UserID   string
	GrantID  string
	Scopes   string
	Token    string         // a reference: the first characters of the token's hash or its jti, never the token
	Detail   map[string]any // small, without secrets
}

// AuditEvent is a stored audit row.
type AuditEvent struct {
	ID        string    `json:"id"`
	At        time.Time `json:"at" gorm:"serializer:millis"`
	Event     string    `json:"event"`
	Actor     string    `json:"actor"`
	ClientID  string    `json:"client_id,omitempty"`
	UserID    string    `json:"user_id,omitempty"`
	GrantID   string    `json:"grant_id,omitempty"`
	Scopes    string    `json:"scopes,omitempty"`
	Token     string    `json:"token,omitempty"`
	Detail    string    `json:"detail,omitempty"`
	RequestID string    `json:"request_id,omitempty"`
	Address   string    `json:"address,omitempty"`
	UserAgent string    `json:"user_agent,omitempty"`
	Seal      *int64    `json:"-"`
}

func (s *Store) row(ctx context.Context, e Event) (AuditEvent, error) {
	if e.Type == "" {
		return AuditEvent{}, ErrNoEvent
	}
	o := OriginOf(ctx)
	row := AuditEvent{
		ID: uuid.Must(uuid.NewV7()).String(), At: s.now(), Event: e.Type, Actor: o.Actor,
		ClientID: e.ClientID, UserID: e.UserID, GrantID: e.GrantID, Scopes: e.Scopes, Token: e.Token,
		RequestID: o.RequestID, Address: o.Address, UserAgent: o.UserAgent,
	}
	if row.Actor == "" {
		row.Actor = "anonymous"
		if e.ClientID != "" {
			row.Actor = "client:" + e.ClientID
		}
	}
	if len(e.Detail) > 0 {
		b, err := json.Marshal(e.Detail)
		if err != nil {
			return AuditEvent{}, err
		}
		row.Detail = string(b)
	}
	return row, nil
}

// plainText is s as valid UTF-8 of at most 256 bytes, without NUL.
func plainText(s string) string {
	if len(s) > 256 {
		s = s[:256]
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "?"), "\x00", "?")
}

// record writes the audit row of a change inside its transaction.
func (s *Store) record(ctx context.Context, e Event) error {
	row, err := s.row(ctx, e)
	if err != nil {
		return err
	}
	return s.write.WithContext(ctx).Create(&row).Error
}

// Record writes an audit row that belongs to no other change, such as a failed sign-in.
func (s *Store) Record(ctx context.Context, e Event) error {
	return wrap("record an event", s.record(ctx, e))
}

// RecordLater queues the audit row of a plain token issue, off the request's path. When the queue is full it waits up
// to a second and then returns ErrBusy. A crash may lose the last second of these rows, and nothing else.
func (s *Store) RecordLater(ctx context.Context, e Event) error {
	row, err := s.row(ctx, e)
	if err != nil {
		return err
	}
	return s.batch.add(ctx, row)
}

// AuditFilter chooses audit rows. Empty fields choose all.
type AuditFilter struct {
	Event, ClientID, UserID string
	Since, Until            time.Time
	Limit                   int // at most this many, the newest first; 0 means 100
}

// AuditEvents returns the newest rows that pass the filter, newest first.
func (s *Store) AuditEvents(ctx context.Context, f AuditFilter) ([]AuditEvent, error) {
	q := s.read.WithContext(ctx).Order("at DESC, id DESC").Limit(f.Limit)
	if f.Limit == 0 {
		q = q.Limit(100)
	}
	for column, value := range map[string]string{"event": f.Event, "client_id": f.ClientID, "user_id": f.UserID} {
		if value != "" {
			q = q.Where(column+" = ?", value)
		}
	}
	if !f.Since.IsZero() {
		q = q.Where("at >= ?", toMillis(f.Since))
	}
	if !f.Until.IsZero() {
		q = q.Where("at < ?", toMillis(f.Until))
	}
	out := []AuditEvent{}
	return out, wrap("list audit events", q.Find(&out).Error)
}
