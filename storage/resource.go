package storage

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"time"

	"gatehouse/storage/audit"
	"gatehouse/storage/db"
)

// Resource is an API that accepts access tokens of this server (RFC 8707).
type Resource struct {
	Identifier    string  `json:"identifier" gorm:"primaryKey"` // its URI, the aud of its tokens
	Name          string  `json:"name"`
	Scopes        Strings `json:"scopes"`
	Introspectors Strings `json:"introspectors"` // clients that may introspect tokens with it in aud
	// Whether clients that registered dynamically may request it and its scopes.
	OpenToApps bool `json:"open_to_apps"`
	// Whether this server serves its metadata (RFC 9728), so that the API need not.
	PublishMetadata bool `json:"publish_metadata"`
	// Whether its access tokens have the groups of the user, and which of them; empty: all.
	GroupsClaim bool    `json:"groups_claim"`
	ClaimGroups Strings `json:"claim_groups"`
	// The headers typ and alg of its access tokens; empty: the default.
	TokenTyp string `json:"token_typ,omitempty"`
	TokenAlg string `json:"token_alg,omitempty"`
	// The weakest acr of a sign-in that is enough for its tokens, empty: any; and how many seconds ago that sign-in
	// may have been, 0: any time (RFC 9470).
	RequiredACR string    `json:"required_acr,omitempty" gorm:"column:required_acr"`
	MaxAuthAge  int64     `json:"max_auth_age,omitempty"`
	CreatedAt   time.Time `json:"created_at" gorm:"serializer:millis;autoCreateTime:false"`

	Canonical string `json:"-" gorm:"-"` // CanonicalResource(Identifier)
	HasRoles  bool   `json:"-" gorm:"-"` // whether there are roles at it
}

// CanonicalResource returns the form in which identifiers of resources are compared: scheme and host are in lower case,
// the default port is omitted, and an empty path is / (RFC 3986 §6.2.3). Nothing else is normalized: /api is not /api/.
func CanonicalResource(identifier string) string {
	u, err := url.Parse(identifier)
	isNotASCII := func(r rune) bool { return r > '~' } // some have an ASCII letter as lower case
	if err != nil || u.Host == "" || u.User != nil || strings.ContainsFunc(identifier, isNotASCII) {
		return identifier
	}
	host := strings.ToLower(u.Host)
	if port := u.Port(); u.Scheme == "https" && port == "443" || u.Scheme == "http" && port == "80" {
		host = strings.TrimSuffix(host, ":"+port)
	}
	_, rest, _ := strings.Cut(identifier, "://")
	rest = rest[strings.IndexAny(rest+"/", "/?"):] // path and query as they were written
	if !strings.HasPrefix(rest, "/") {
		rest = "/" + rest
	}
	return u.Scheme + "://" + host + rest
}

// Resources returns every resource by its identifier. The map is shared: do not change it.
func (s *Store) Resources(ctx context.Context) (map[string]Resource, error) {
	return cached(s,
		func(c *cache) (map[string]Resource, bool) { return c.resources, c.resources != nil },
		func() (map[string]Resource, error) {
			all, err := db.List[Resource](ctx, s.Read, "identifier", "1 = 1")
			if err != nil {
				return nil, db.Wrap("list resources", err)
			}
			withRoles, err := db.Select[string](ctx, s.Read, "SELECT DISTINCT resource FROM roles")
			out := make(map[string]Resource, len(all))
			for _, v := range all {
				v.Canonical, v.HasRoles = CanonicalResource(v.Identifier), slices.Contains(withRoles, v.Identifier)
				out[v.Identifier] = v
			}
			return out, db.Wrap("list resources with roles", err)
		},
		func(c *cache, v map[string]Resource) { c.resources = v })
}

// CreateResource adds a resource, or returns ErrConflict.
func (s *Store) CreateResource(ctx context.Context, v Resource) error {
	e := audit.Event{Type: audit.ResourceCreated, Detail: map[string]any{"resource": v.Identifier}}
	v.recordDisclosure(e.Detail, Resource{})
	recordTokenFormat(e, Resource{}, v)
	recordRequiredSignIn(e, Resource{}, v)
	return db.Wrap(
		"create resource", s.changeShared(ctx, e, func(tx *Store) error { return db.Insert(ctx, tx.Write, &v) }),
	)
}

// recordDisclosure adds to the detail of an event which clients and data of users the resource gets, if that changed.
func (r *Resource) recordDisclosure(detail map[string]any, before Resource) {
	if r.OpenToApps != before.OpenToApps {
		detail["open_to_apps"] = r.OpenToApps
	}
	if r.GroupsClaim != before.GroupsClaim {
		detail["groups_claim"] = r.GroupsClaim
	}
	if !slices.Equal(r.ClaimGroups, before.ClaimGroups) {
		detail["claim_groups"] = r.ClaimGroups
	}
}

// UpdateResource calls change with the stored resource and stores the result, or returns ErrNotFound. change may refuse
// by returning an error, which UpdateResource returns as it is.
func (s *Store) UpdateResource(ctx context.Context, identifier string, change func(r *Resource) error) error {
	e := audit.Event{Type: audit.ResourceUpdated, Detail: map[string]any{}}
	var refused error // by change
	err := s.changeShared(ctx, e, func(tx *Store) error {
		refused = nil
		clear(e.Detail) // of a transaction that was retried
		e.Detail["resource"] = identifier
		if err := tx.lockRows(ctx, "resources", "identifier = ?", identifier); err != nil {
			return err
		}
		r, err := db.Take[Resource](ctx, tx.Write, "identifier = ?", identifier)
		if err != nil {
			return err
		}
		before := r
		if refused = change(&r); refused != nil {
			return refused
		}
		r.recordDisclosure(e.Detail, before)
		recordTokenFormat(e, before, r)
		recordRequiredSignIn(e, before, r)
		changed := []string{
			"name", "scopes", "introspectors", "open_to_apps", "publish_metadata", "groups_claim", "claim_groups",
			"token_typ", "token_alg", "required_acr", "max_auth_age",
		}
		return db.Update(ctx, tx.Write, &r, changed, "identifier = ?", identifier)
	})
	if refused != nil {
		return refused
	}
	return db.Wrap("update resource", err)
}

// recordTokenFormat adds what changed in the format of the access tokens to the event.
func recordTokenFormat(e audit.Event, before, after Resource) {
	if before.TokenTyp != after.TokenTyp {
		e.Detail["token_typ"] = after.TokenTyp
	}
	if before.TokenAlg != after.TokenAlg {
		e.Detail["token_alg"] = after.TokenAlg
	}
}

// recordRequiredSignIn adds what changed in the sign-in that the resource requires to the event.
func recordRequiredSignIn(e audit.Event, before, after Resource) {
	if before.RequiredACR != after.RequiredACR {
		e.Detail["required_acr"] = after.RequiredACR
	}
	if before.MaxAuthAge != after.MaxAuthAge {
		e.Detail["max_auth_age"] = after.MaxAuthAge
	}
}

// AuthAge returns how long ago the user may have signed in for tokens of the resource, 0 for any time.
func (r *Resource) AuthAge() time.Duration { return time.Duration(r.MaxAuthAge) * time.Second }

// DeleteResource removes a resource, or returns ErrNotFound. No new token has it in aud.
func (s *Store) DeleteResource(ctx context.Context, identifier string) error {
	e := audit.Event{Type: audit.ResourceDeleted, Detail: map[string]any{"resource": identifier}}
	return db.Wrap("delete resource", s.changeShared(ctx, e, func(tx *Store) error {
		return db.ExecOne(ctx, tx.Write, "DELETE FROM resources WHERE identifier = ?", identifier)
	}))
}
