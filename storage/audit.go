package storage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"gatehouse/storage/reqevent"
)

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

	// What failed, and changed nothing.
	AuthenticationFailed = "client.authentication_failed"
	AddressRefused       = "client.address_refused"
	ScopeRefused         = "client.scope_refused"
	RedirectRefused      = "client.redirect_uri_refused"
	CodeRefused          = "code.refused"
	RefreshRefused       = "refresh_token.refused"
	SignInLimited        = "network.sign_in_limited"
	IntrospectionFailed  = "introspection.failed"

	// What the operator did to the record itself.
	AuditRetired    = "audit.retired"
	AuditErased     = "audit.erased"
	RootKeyReplaced = "root_key.replaced"
	AuditExported   = "audit.exported"
	BackupMade      = "database.backed_up"
)

// eventTypes is all of them: a counter has to be there, at nothing, before the first event for an alert to see that one.
var eventTypes = []string{
	ClientCreated, ClientUpdated, ClientDisabled, ClientEnabled, ClientDeleted, ClientSecretAdded, ClientTokensRevoked,
	ClientRegistered, UserCreated, UserUpdated, UserDisabled, UserEnabled, UserDeleted, UserPasswordSet,
	UserTokensRevoked, UserSignedIn, UserSignInFailed, SessionEnded, ScopeCreated, ScopeUpdated, ScopeDeleted,
	ResourceCreated, ResourceUpdated, ResourceDeleted, ConsentGiven, ConsentDenied, ConsentWithdrawn, CodeIssued,
	CodeRedeemed, CodeReplayed, RefreshRotated, RefreshReused, GrantRevoked, TokenIssued, TokenRevoked, KeyCreated,
	KeyRotated, KeyRevoked, RegistrationOpened, RegistrationClosed, LogoutDelivered, LogoutUndelivered,
	RedirectRefused, CodeRefused, RefreshRefused,
	AuthenticationFailed, AddressRefused, ScopeRefused, SignInLimited, IntrospectionFailed, AuditRetired, AuditErased, RootKeyReplaced,
	AuditExported, BackupMade,
}

// EventTypes are all types of events.
func EventTypes() []string { return slices.Sorted(slices.Values(eventTypes)) }

// IsEventType reports whether a filter's event, which may end in *, can ever be met. Empty is any.
func IsEventType(filter string) bool {
	prefix, open := strings.CutSuffix(filter, "*")
	return filter == "" || slices.ContainsFunc(eventTypes, func(t string) bool { return t == filter || open && strings.HasPrefix(t, prefix) })
}

// Event is what an audit row says beyond its request and time. Every changing method takes one, so none is forgotten.
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

// TokenReference names a token, code or secret in the audit log without telling it: the first 16 hexadecimal digits of its
// SHA-256. Who finds a token finds its record.
func TokenReference(token string) string {
	sum := sha256.Sum256([]byte(token))
	return HashReference(sum[:])
}

// HashReference is the TokenReference of a token whose SHA-256 is known.
func HashReference(hash []byte) string { return hex.EncodeToString(hash[:min(8, len(hash))]) }

// AuditEvent is a stored audit row. Address and UserAgent are personal data, stored sealed in Personal under a key that
// PersonalKey makes; rows of the first version have them in clear.
type AuditEvent struct {
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
	Address     string    `json:"address,omitempty"`
	UserAgent   string    `json:"user_agent,omitempty"`
	Personal    []byte    `json:"-"`
	PersonalKey []byte    `json:"-"`
	Seal        *int64    `json:"seal,omitempty"`
}

// row makes the audit row of an event. What callers wrote into names and scopes is made text that every database takes.
func (s *Store) row(ctx context.Context, e Event) (AuditEvent, error) {
	if e.Type == "" {
		return AuditEvent{}, ErrNoEvent
	}
	request := reqevent.From(ctx)
	row := AuditEvent{
		ID: uuid.Must(uuid.NewV7()).String(), At: s.now(), Event: e.Type, Actor: request.Actor,
		ClientID: reqevent.CleanText(e.ClientID), UserID: e.UserID, GrantID: e.GrantID, Scopes: e.Scopes, Token: e.Token, RequestID: request.RequestID,
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
			return AuditEvent{}, err
		}
		row.Detail = string(b)
	}
	var err error
	row.PersonalKey, row.Personal, err = s.sealOrigin(row.ID, request.Address, request.UserAgent)
	return row, err
}

// recordOf writes the audit row of a change in the same statement, where PostgreSQL can: of whom it is about is in the row that
// changed, as the CTE from returns it; the rest are the arguments that recorded gives.
func recordOf(from, grant string) string {
	return `INSERT INTO audit_events (id, at, event, actor, client_id, user_id, grant_id, scopes, token, detail, request_id, address, user_agent, personal, personal_key)
		SELECT ?, ?::bigint, ?, ?, client_id, user_id, ` + grant + `, scopes, ?, ?, ?, '', '', ?, ? FROM ` + from
}

func (row *AuditEvent) recorded() []any {
	return []any{row.ID, toMillis(row.At), row.Event, row.Actor, row.Token, row.Detail, row.RequestID, row.Personal, row.PersonalKey}
}

// record writes the audit row of a change inside its transaction.
func (s *Store) record(ctx context.Context, e Event) error {
	row, err := s.row(ctx, e)
	if err != nil {
		return err
	}
	if err := s.write.WithContext(ctx).Create(&row).Error; err != nil {
		return err
	}
	s.count(e.Type)
	return nil
}

// insertAudit writes many rows by one statement that is the same however many there are, so that PostgreSQL prepares it once.
// Rows that are there already are skipped. It goes past gorm, which would take the lists apart.
func (s *Store) insertAudit(ctx context.Context, rows []AuditEvent) error {
	n := len(rows)
	at, personal, keys := make([]int64, n), make([][]byte, n), make([][]byte, n)
	var texts [12][]string
	for i := range texts {
		texts[i] = make([]string, n)
	}
	for i, r := range rows {
		at[i], personal[i], keys[i] = toMillis(r.At), r.Personal, r.PersonalKey
		for j, text := range [12]string{r.ID, r.Event, r.Actor, r.ClientID, r.UserID, r.GrantID, r.Scopes, r.Token, r.Detail, r.RequestID, r.Address, r.UserAgent} {
			texts[j][i] = text
		}
	}
	args := make([]any, 0, 15)
	for _, list := range texts {
		args = append(args, list)
	}
	_, err := s.pool().ExecContext(ctx, `INSERT INTO audit_events (id, event, actor, client_id, user_id, grant_id, scopes, token, detail, request_id, address, user_agent, at, personal, personal_key)
		SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::bigint[], $14::bytea[], $15::bytea[])
		ON CONFLICT DO NOTHING`, append(args, at, personal, keys)...)
	return err
}

// Record writes an audit row that belongs to no other change, such as a failed sign-in.
func (s *Store) Record(ctx context.Context, e Event) error {
	return wrap("record an event", s.record(ctx, e))
}

// Seen counts a failure for Stats, whether or not it gets a row.
func (s *Store) Seen(e Event) { s.counts.add(e.Type) }

// RecordIfRoom queues the audit row of a failure that changed nothing and that Seen has counted. When the queue is full it
// returns ErrBusy at once: a failure is not worth waiting for.
func (s *Store) RecordIfRoom(ctx context.Context, e Event) error {
	row, err := s.row(ctx, e)
	if err != nil {
		return err
	}
	select {
	case s.batch.rows <- row:
		return nil
	default:
		return ErrBusy
	}
}

// RecordLater queues the audit row of a plain token issue, off the request's path. When the queue is full it waits up to a second and then returns ErrBusy. A crash may lose the last second of these rows,
// and nothing else.
func (s *Store) RecordLater(ctx context.Context, e Event) error {
	row, err := s.row(ctx, e)
	if err != nil {
		return err
	}
	if err := s.file.check(); err != nil {
		return err
	}
	if err := s.batch.add(ctx, row); err != nil {
		return err
	}
	s.count(e.Type)
	return nil
}

// count counts an event for Stats; in a transaction when it commits.
func (s *Store) count(event string) {
	if s.tx != nil {
		s.tx.events = append(s.tx.events, event)
		return
	}
	s.counts.add(event)
}
