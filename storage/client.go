package storage

import (
	"context"
	"errors"
	"slices"
	"time"

	"gatehouse/display"
	"gatehouse/keyed"
	"gatehouse/storage/audit"
	"gatehouse/storage/db"
)

// Client authentication methods (RFC 7591 §2, OIDC Core §9).
const (
	AuthBasic      = "client_secret_basic"
	AuthPost       = "client_secret_post"
	AuthPrivateKey = "private_key_jwt"
	AuthNone       = "none"
)

// Subject types (OIDC Core §8).
const (
	SubjectPublic   = "public"
	SubjectPairwise = "pairwise"
)

// Client is a client that gets tokens, for users or for itself (RFC 6749 §2).
type Client struct {
	ID              string
	Name            string
	Owner           string // the team responsible for the client, free text
	URI             string
	PolicyURI       string
	TosURI          string
	Contacts        Strings
	LogoURI         string `gorm:"column:logo_uri"`
	ApplicationType string // "web" or "native", as registered; it has no effect
	SoftwareID      string
	SoftwareVersion string
	AuthMethod      string // one of AuthBasic, AuthPost, AuthPrivateKey, AuthNone
	AuthAlg         string // the only JWS alg of its assertions; empty: any that its key supports
	// Whether the aud of its assertions may be the token endpoint (OIDC Core §9) instead of the issuer.
	TokenEndpointAudience bool
	JWKS                  string `gorm:"column:jwks"` // its public keys as JSON, or
	JWKSURI               string `gorm:"column:jwks_uri"`
	GrantTypes            Strings
	RedirectURIs          Strings  `gorm:"column:redirect_uris"`
	Scopes                Strings  // those it may request
	DefaultScopes         *Strings // granted when it requests none; nil: all of Scopes except offline_access
	OptionalScopes        Strings  // those that a user may deselect
	// Whether they are initially selected on the consent page; nil: yes unless the client is self-registered.
	OptionalScopesSelected *bool
	Audience               Strings  // aud when no resource applies
	DefaultResource        string   // the resource of requests that name none
	Resources              *Strings // those it may request; nil: every resource with one of its scopes
	RequirePKCE            bool     `gorm:"column:require_pkce"`
	SkipConsent            bool
	Vouched                bool // the operator has checked a client that registered itself
	RefreshRotation        bool
	AccessTokenTTL         *time.Duration `gorm:"column:access_token_ttl;serializer:millis"`
	RefreshIdleTTL         *time.Duration `gorm:"column:refresh_idle_ttl;serializer:millis"`
	RefreshMaxTTL          *time.Duration `gorm:"column:refresh_max_ttl;serializer:millis"`
	RefreshGrace           *time.Duration `gorm:"serializer:millis"` // the retry window; nil: the server's, 0: none
	Epoch                  int64
	CreatedAt              time.Time  `gorm:"serializer:millis;autoCreateTime:false"`
	UpdatedAt              time.Time  `gorm:"serializer:millis;autoUpdateTime:false"`
	DisabledAt             *time.Time `gorm:"serializer:millis"`

	// OpenID Connect.
	IDTokenAlg string `gorm:"column:id_token_alg"`
	// Whether ID tokens have the claims of its scopes too.
	IDTokenClaims              bool           `gorm:"column:id_token_claims"`
	UserinfoAlg                string         // empty: plain JSON
	RequestObjectAlg           string         // empty: any that its key supports
	RequireSignedRequestObject bool           // RFC 9101 §10.5
	RequestURIs                Strings        `gorm:"column:request_uris"`
	SubjectType                string         // SubjectPublic or SubjectPairwise
	SectorIdentifierURI        string         `gorm:"column:sector_identifier_uri"`
	Sector                     string         // the host that pairwise subjects are derived from
	DefaultMaxAge              *time.Duration `gorm:"serializer:millis"`
	RequireAuthTime            bool           // only stored and returned
	DefaultACRValues           Strings        `gorm:"column:default_acr_values"` // of requests without acr_values
	InitiateLoginURI           string         `gorm:"column:initiate_login_uri"`
	PostLogoutRedirectURIs     Strings        `gorm:"column:post_logout_redirect_uris"`
	BackchannelLogoutURI       string         `gorm:"column:backchannel_logout_uri"`
	BackchannelSessionRequired bool           // only stored and returned
	// When the description of a self-registered client last changed.
	DescribedAt *time.Time `gorm:"serializer:millis"`
	// Of a self-registered client, to the day: its last authorization.
	LastUsedAt *time.Time `gorm:"serializer:millis"`
	// SHA-256 of the registration access token (RFC 7592), NULL when the operator created it.
	RegistrationHash []byte
	// SHA-256 of the client ID metadata document that it was made from, NULL for other clients.
	DocumentHash []byte
	// Whether the operator registered the client of a document in advance.
	Preregistered bool
	// Names of the document's members that the operator has set; they stay when the document changes.
	OperatorMembers Strings

	ClaimGroups     Strings // the groups that it gets of those of a user, or patterns (MatchesGroup); empty: all
	GroupsClaimName string  // the name of the claim of groups; empty: groups
	GroupsPrefix    string  // what the names of groups begin with in the claim
	RequiredGroups  Strings // a user in none of them has no access; empty: every user has
	// The weakest acr of a sign-in that is enough; empty: any.
	RequiredACR string `gorm:"column:required_acr"`

	AllowedNetworks Strings // CIDRs it may authenticate from; empty: anywhere

	Secrets []ClientSecret `gorm:"-"`
}

// IsPublic reports whether the client has no credentials (RFC 6749 §2.1).
func (c *Client) IsPublic() bool { return c.AuthMethod == AuthNone }

// IsSelfRegistered reports whether the client registered dynamically, so that the operator has not verified its
// metadata.
func (c *Client) IsSelfRegistered() bool { return c.RegistrationHash != nil }

// DisplayName returns the name of the client for users, or its client_id when the name cannot be displayed.
func (c *Client) DisplayName() string { return display.NameOr(c.Name, c.ID) }

// SelectsOptionalScopes reports whether optional scopes are initially selected on the consent page: as the operator
// set it, or by default for every client but unverified ones.
func (c *Client) SelectsOptionalScopes() bool {
	if c.OptionalScopesSelected != nil {
		return *c.OptionalScopesSelected
	}
	return !c.IsUnverified()
}

// IsPairwise reports whether subjects differ between the sectors of clients (OIDC Core §8.1).
func (c *Client) IsPairwise() bool { return c.SubjectType == SubjectPairwise }

// ClientSecret is one of a client's secrets. There may be several active ones, so that they rotate without downtime.
type ClientSecret struct {
	ID        string
	ClientID  string
	Hash      []byte     // SHA-256; empty when there is a SlowHash
	SlowHash  string     // the password hash of a secret that Gatehouse did not generate; else empty
	CreatedAt time.Time  `gorm:"serializer:millis;autoCreateTime:false"`
	ExpiresAt *time.Time `gorm:"serializer:millis"`
}

// Client returns the client with its secrets, disabled or not, or ErrNotFound. The record is shared: do not change it.
func (s *Store) Client(ctx context.Context, id string) (*Client, error) {
	return cached(s,
		func(c *cache) (*Client, bool) { v, ok := c.clients[id]; return v, ok },
		func() (*Client, error) { return s.loadClient(ctx, id) },
		(*cache).putClient)
}

func (s *Store) loadClient(ctx context.Context, id string) (*Client, error) {
	c, err := db.Take[Client](ctx, s.Read, "id = ?", id)
	if err != nil {
		return nil, db.Wrap("read client", err)
	}
	c.Secrets, err = db.List[ClientSecret](ctx, s.Read, "created_at", "client_id = ?", id)
	return &c, db.Wrap("read client secrets", err)
}

// LongestAccessTokenTTL returns the longest lifetime of access tokens that a client has set for itself, 0 when none
// has.
func (s *Store) LongestAccessTokenTTL(ctx context.Context) (time.Duration, error) {
	var ms int64
	err := db.QueryRow(
		ctx, s.Write, []any{&ms},
		"SELECT coalesce(max(access_token_ttl), 0) FROM clients WHERE access_token_ttl IS NOT NULL",
	)
	return time.Duration(ms) * time.Millisecond, db.Wrap("read lifetimes of access tokens", err)
}

// ClientsByName returns at most 100 clients with exactly that name, in the order of their ids and without their
// secrets.
func (s *Store) ClientsByName(ctx context.Context, name string) ([]Client, error) {
	out, err := db.ListLimit[Client](ctx, s.Read, 100, "id", "name = ?", name)
	return out, db.Wrap("find clients by name", err)
}

// CreateClient adds a client and its secrets. detail is what the audit event has in addition. It returns ErrConflict or
// ErrIDOfUser when the client_id is taken.
func (s *Store) CreateClient(ctx context.Context, c *Client, detail map[string]any) error {
	e := audit.Event{Type: audit.ClientCreated, ClientID: c.ID, Scopes: c.Scopes.String(), Detail: detail}
	if c.IsUnverified() && !c.Preregistered {
		e.Type = audit.ClientRegistered
	}
	if len(c.Secrets) > 0 {
		e.Token = audit.HashReference(c.Secrets[0].Hash)
	}
	return db.Wrap("create client", s.Tx(ctx, func(tx *Store) error {
		if _, err := db.Take[User](ctx, tx.Write, "id = ?", c.ID); err == nil {
			return ErrIDOfUser
		} else if !errors.Is(err, ErrNotFound) {
			return err
		}
		if err := db.Insert(ctx, tx.Write, c); err != nil {
			return err
		}
		if err := tx.setClientTerms(ctx, c); err != nil {
			return err
		}
		for i := range c.Secrets {
			if err := db.Insert(ctx, tx.Write, &c.Secrets[i]); err != nil {
				return err
			}
		}
		// No process has cached it: missing clients are not cached.
		return tx.Audit.Record(ctx, e)
	}))
}

// ClientUpdate is what UpdateClient does in addition to storing the client.
type ClientUpdate struct {
	RevokeTokens bool           // whether every token and grant of the client is revoked
	Detail       map[string]any // of the audit event
}

// UpdateClient calls change with the stored client and stores the result. change may refuse by returning an error,
// which UpdateClient returns as it is.
func (s *Store) UpdateClient(ctx context.Context, id string, change func(c *Client) (ClientUpdate, error)) error {
	var refused error // by change
	err := s.Tx(ctx, func(tx *Store) error {
		refused = nil
		if err := db.Lock(ctx, tx.Write, "clients", id); err != nil {
			return err
		}
		c, err := db.Take[Client](ctx, tx.Write, "id = ?", id)
		if err != nil {
			return err
		}
		epoch, disabled := c.Epoch, c.DisabledAt
		var update ClientUpdate
		if update, refused = change(&c); refused != nil {
			return refused
		}
		c.ID, c.Epoch, c.DisabledAt, c.UpdatedAt = id, epoch, disabled, s.Now()
		if update.RevokeTokens {
			c.Epoch++
		}
		if err := db.UpdateAll(ctx, tx.Write, &c, []string{"id", "created_at"}, "id = ?", id); err != nil {
			return err
		}
		if err := tx.setClientTerms(ctx, &c); err != nil {
			return err
		}
		tx.recordClientChange(id)
		return tx.Audit.Record(ctx, audit.Event{Type: audit.ClientUpdated, ClientID: id, Detail: update.Detail})
	})
	if refused != nil {
		return refused
	}
	return db.Wrap("update client", err)
}

// DisableClient refuses the client and its secrets until EnableClient, and ends every grant, token and code of the
// client permanently by incrementing its epoch. It returns ErrNotFound when there is no such client, and changes
// nothing when the client is already disabled.
func (s *Store) DisableClient(ctx context.Context, id string) error {
	now := db.Millis(s.Now())
	return s.changeClient(
		ctx, id, audit.ClientDisabled,
		"UPDATE clients SET disabled_at = ?, epoch = epoch + 1, updated_at = ? WHERE id = ? AND disabled_at IS NULL", now,
		now, id,
	)
}

// EnableClient accepts a disabled client and its secrets again. Grants, tokens and codes from before DisableClient
// stay revoked.
func (s *Store) EnableClient(ctx context.Context, id string) error {
	return s.changeClient(
		ctx, id, audit.ClientEnabled,
		"UPDATE clients SET disabled_at = NULL, updated_at = ? WHERE id = ? AND disabled_at IS NOT NULL",
		db.Millis(s.Now()), id,
	)
}

// RevokeClientTokens revokes every token and grant that the client has.
func (s *Store) RevokeClientTokens(ctx context.Context, id string) error {
	return s.changeClient(
		ctx, id, audit.ClientTokensRevoked, "UPDATE clients SET epoch = epoch + 1, updated_at = ? WHERE id = ?",
		db.Millis(s.Now()), id,
	)
}

// DeleteClient removes the client, its secrets and consents, and its right to introspect for resources. Its grants
// and tokens are then invalid.
func (s *Store) DeleteClient(ctx context.Context, id string) error {
	return s.Tx(ctx, func(tx *Store) error {
		if err := tx.recordDeletedClient(ctx, id); err != nil {
			return err
		}
		if err := tx.changeClient(ctx, id, audit.ClientDeleted, "DELETE FROM clients WHERE id = ?", id); err != nil {
			return err
		}
		if err := tx.lockResources(ctx, "true"); err != nil {
			return db.Wrap("lock resources", err)
		}
		all, err := db.List[Resource](ctx, tx.Write, "identifier", "introspectors LIKE ?", "%"+id+"%")
		if err != nil {
			return db.Wrap("read resources", err)
		}
		for _, r := range all {
			r.Introspectors = slices.DeleteFunc(r.Introspectors, func(other string) bool { return other == id })
			text, err := r.Introspectors.Value()
			if err != nil {
				return err
			}
			if err := db.Exec(ctx, tx.Write,
				"UPDATE resources SET introspectors = ? WHERE identifier = ?", text, r.Identifier); err != nil {
				return db.Wrap("update resource", err)
			}
			tx.recordSharedChange()
		}
		return nil
	})
}

// changeClient executes one statement on a client. It returns ErrNotFound when there is no such client. When the
// client is already in that state, it changes nothing and writes no event.
func (s *Store) changeClient(ctx context.Context, id, event, query string, args ...any) error {
	return db.Wrap("change client", s.Tx(ctx, func(tx *Store) error {
		err := db.ExecOne(ctx, tx.Write, query, args...)
		if errors.Is(err, ErrNotFound) {
			_, err = db.Take[Client](ctx, tx.Write, "id = ?", id)
			return err
		}
		if err != nil {
			return err
		}
		tx.recordClientChange(id)
		return tx.Audit.Record(ctx, audit.Event{Type: event, ClientID: id})
	}))
}

// AddClientSecret adds a secret. The others stay valid for overlap from its creation; without an overlap they become
// invalid immediately, and every token of the client is revoked.
func (s *Store) AddClientSecret(ctx context.Context, secret *ClientSecret, overlap time.Duration) error {
	e := audit.Event{
		Type: audit.ClientSecretAdded, ClientID: secret.ClientID, Token: audit.HashReference(secret.Hash),
		Detail: map[string]any{"overlap_seconds": int64(overlap / time.Second)},
	}
	return db.Wrap("add client secret", s.Tx(ctx, func(tx *Store) error {
		if err := db.Lock(ctx, tx.Write, "clients", secret.ClientID); err != nil {
			return err
		}
		expiry := db.Millis(secret.CreatedAt.Add(overlap))
		if err := db.Exec(ctx, tx.Write,
			"UPDATE client_secrets SET expires_at = ? WHERE client_id = ? AND (expires_at IS NULL OR expires_at > ?)",
			expiry, secret.ClientID, expiry); err != nil {
			return err
		}
		if overlap <= 0 {
			if err := db.Exec(ctx, tx.Write, "UPDATE clients SET epoch = epoch + 1 WHERE id = ?", secret.ClientID); err != nil {
				return err
			}
		}
		if err := db.Insert(ctx, tx.Write, secret); err != nil {
			return err
		}
		tx.recordClientChange(secret.ClientID)
		return tx.Audit.Record(ctx, e)
	}))
}

// HasSecret reports whether hash is that of a valid secret of the client. It takes the same time for each of its
// secrets. An empty hash never matches.
func (c *Client) HasSecret(hash []byte, now time.Time) bool {
	ok := false
	for _, s := range c.Secrets {
		if len(hash) == 32 && keyed.Equal(s.Hash, hash) && (s.ExpiresAt == nil || now.Before(*s.ExpiresAt)) {
			ok = true
		}
	}
	return ok
}
