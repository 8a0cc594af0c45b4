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

	"gatehouse/storage/db"
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

// AuditEvent is a stored audit row. Address and UserAgent are personal data, stored only in Personal, sealed under a key
// derived from PersonalKey.
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
	Address     string    `json:"address,omitempty" gorm:"-"`
	UserAgent   string    `json:"user_agent,omitempty" gorm:"-"`
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
		ID: uuid.Must(uuid.NewV7()).String(), At: s.Now(), Event: e.Type, Actor: request.Actor,
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

// auditRow maps AuditEvent to its table.
var auditRow = db.NewRecord[AuditEvent]("audit_events")

// changeRow is a statement that writes the audit row of a change as part of the statement of the change, on PostgreSQL.
// The columns that say whom the change is about come from the row that changed; the others are arguments.
type changeRow struct {
	query string
	from  map[string]string
}

// newChangeRow returns the statement for a CTE that returns the row that changed. grant is its column with the grant's
// id.
func newChangeRow(cte, grant string) changeRow {
	from := map[string]string{"client_id": "client_id", "user_id": "user_id", "grant_id": grant, "scopes": "scopes"}
	return changeRow{auditRow.InsertFrom(cte, from), from}
}

// The audit rows of changes that PostgreSQL makes in one statement with them.
var (
	issuedRow       = newChangeRow("issued", "''")
	redeemedRow     = newChangeRow("redeemed", "grant_id")
	changedGrantRow = newChangeRow("changed", "id")
	revokedTokenRow = newChangeRow("whose", "grant_id")
)

// args returns the arguments of the statement for a row.
func (c changeRow) args(row *AuditEvent) []any { return auditRow.Values(row, c.from) }

// record writes the audit row of a change inside its transaction.
func (s *Store) record(ctx context.Context, e Event) error {
	row, err := s.row(ctx, e)
	if err != nil {
		return err
	}
	if err := db.Insert(ctx, s.Write, &row); err != nil {
		return err
	}
	s.count(e.Type)
	return nil
}

// Record writes an audit row that belongs to no other change, such as a failed sign-in.
func (s *Store) Record(ctx context.Context, e Event) error {
	return db.Wrap("record an event", s.record(ctx, e))
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
	if err := s.CheckFile(); err != nil {
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
	s.OnCommit(func() { s.counts.add(event) })
}
